"""What a request asks of a text, whatever method decodes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from torch import Tensor

from casspec.runtime.text.adjustments import Adjustments
from casspec.runtime.text.grammar import Grammar
from casspec.runtime.text.sampling import Sampling
from casspec.storage.errors import UnsupportedOption

Processor = Callable[[Tensor, Tensor], Tensor]
"""(text so far [1, tokens] int64, scores [1, vocab] float32) -> scores [1, vocab]: transformers' `LogitsProcessor`."""

Criterion = Callable[[Tensor, Any], Any]
"""(text so far [1, tokens] int64, None) -> whether it ends here, a truth value or a tensor of one: transformers' `StoppingCriteria`."""

MOST_LOGPROBS = 1024
"""Tokens whose probabilities may be asked for at each position."""

MOST_STOPS, LONGEST_STOP = 64, 4096
"""Stop strings of a request, and characters of each."""


@dataclass(frozen=True)
class Request:
    """Options of one request. `Request.of` makes one from options by their names.

    Raises UnsupportedOption for a value out of range.
    """

    max_new_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    adjustments: Adjustments = field(default_factory=Adjustments)
    grammar: Grammar | None = None
    """What the whole text follows; it ends where nothing can follow. `Request.of` takes response formats too, see `Grammar.of`."""
    processors: Sequence[Processor] = ()
    """Applied after the adjustments and before the sampling, in their order, once an emitted token; copied for each text."""
    padding: Sequence[int] = ()
    """Tokens that stand before the prompt for processors and criteria alone, as in a batch padded on the left."""
    seed: int | None = None
    """Of the sampling noise; None draws one."""
    stop_token_ids: Sequence[int] | None = None
    """Tokens that end the text, themselves emitted; None means the model's own."""
    ignore_eos: bool = False
    """Whether the model's own do not end it."""
    stop: Sequence[str] = ()
    """Strings that end the text: its tokens end with the one that completes a string, its text before the string."""
    shown_tokens: Sequence[int] = ()
    """Special tokens that are part of the text, as markers of tool calls are; others are left out."""
    criteria: Sequence[Criterion] = ()
    """Asked after every emitted token."""
    logprobs: int | None = None
    """How many of the likeliest tokens are told of at each position, beside the emitted one; None tells nothing."""
    prediction: Sequence[int] = ()
    """Tokens that the text is expected to be: drafted for as long as it follows them. They change the speed only."""
    keep_scores: bool = False
    """Whether the whole rows, as they came from the model and as sampled from, are kept for every emitted token."""

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "seed", "logprobs"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise UnsupportedOption(f"{name} takes a whole number, not {value!r}")
        if self.max_new_tokens < 0:
            raise UnsupportedOption(f"max_new_tokens must not be negative, got {self.max_new_tokens}")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise UnsupportedOption(f"logprobs must lie in 0..{MOST_LOGPROBS}, not {self.logprobs}")
        wrong = next((token for token in self.tokens if isinstance(token, bool) or not isinstance(token, int)), None)
        if wrong is not None:
            raise UnsupportedOption(f"token ids are whole numbers, not {wrong!r}")
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise UnsupportedOption(f"grammar takes a Grammar or a response format, not {self.grammar!r}")
        if not all(callable(one) for one in (*self.processors, *self.criteria)):
            raise UnsupportedOption("processors and criteria are lists of what can be called")
        if self.sampling.top_k is not None and not isinstance(self.sampling.top_k, int):
            raise UnsupportedOption(f"top_k takes a whole number, not {self.sampling.top_k!r}")
        if len(self.stop) > MOST_STOPS or not all(0 < len(text) <= LONGEST_STOP for text in self.stop):
            raise UnsupportedOption(
                f"stop takes up to {MOST_STOPS} strings of 1 to {LONGEST_STOP} characters; leave out what is empty or longer"
            )

    @classmethod
    def of(cls, **options: Any) -> Self:
        """From options by name: this class's own fields and those of `Sampling` and `Adjustments`; None means the default.

        Raises UnsupportedOption for an unknown name or a value out of range.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if isinstance(given.get("stop"), str):
            given["stop"] = (given["stop"],)
        if "grammar" in given:
            given["grammar"] = Grammar.of(given["grammar"])
        try:
            return cls._of(given)
        except (TypeError, ValueError, AttributeError) as error:
            raise UnsupportedOption(f"an option has a value of the wrong type: {error}") from error

    @classmethod
    def _of(cls, given: dict[str, Any]) -> Self:
        sampling, adjustments = (
            {one.name: given.pop(one.name) for one in fields(part) if one.name in given}
            for part in (Sampling, Adjustments)
        )
        unknown = given.keys() - OPTIONS
        if unknown:
            raise UnsupportedOption(f"no option {', '.join(sorted(unknown))}; options: {', '.join(sorted(OPTIONS))}")
        return cls(sampling=Sampling(**sampling), adjustments=Adjustments(**adjustments), **given)

    @property
    def tokens(self) -> list[int]:
        """All token ids that options name."""
        listed = *(self.stop_token_ids or ()), *self.shown_tokens, *self.prediction
        return [*self.adjustments.tokens, *listed]

    def ends(self, own: Sequence[int]) -> frozenset[int]:
        """Tokens that end the text, for a model whose own ends are `own`."""
        if self.stop_token_ids is not None:
            return frozenset(self.stop_token_ids)
        return frozenset() if self.ignore_eos else frozenset(own)

    @property
    def looks_at_rows(self) -> bool:
        """Whether more is wanted of the model's rows than the sampled token."""
        # The best token that a grammar leaves can be found without them, unless sampling leaves some out by what others there are.
        filtered = self.grammar is not None and not self.sampling.greedy and self.sampling.filters
        changes = self.adjustments or filtered or self.processors
        return bool(changes or self.logprobs is not None or self.keep_scores)


OPTIONS = {one.name for part in (Request, Sampling, Adjustments) for one in fields(part)} - {"sampling", "adjustments"}
"""Names that `Request.of` knows."""
