"""What a request comes to: its tokens and text, how they ended, and what producing them took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from casspec.runtime.decoding.walk import FinishReason
from casspec.runtime.text.logprobs import TokenLogprobs


@dataclass
class Statistics:
    """What one generation did and where its time went. Times in milliseconds."""

    method: str = ""
    """The method that decoded."""
    verify_steps: int = 0
    emitted_tokens: int = 0
    drafted_tokens: int = 0
    """Candidates verified, roots excluded."""
    accepted_tokens: int = 0
    accepted_lengths: Counter[int] = field(default_factory=Counter)
    """Histogram of tokens emitted a verify step, bonus included."""
    draft_steps: int = 0
    """Verify steps with candidates."""
    drafted_by: Counter[str] = field(default_factory=Counter)
    accepted_by: Counter[str] = field(default_factory=Counter)
    trials_by: Counter[str] = field(default_factory=Counter)
    """By drafter, proposals that came to be compared with the target's own token, verified or not; of methods that count them."""
    right_by: Counter[str] = field(default_factory=Counter)
    """Those of them that were the target's token."""
    reused_tokens: int = 0
    """Of the prompt, those whose rows another text left."""
    prefill_ms: float = 0.0
    """Everything before the first step: prefill forwards, indexing of the prompt."""
    decode_ms: float = 0.0
    """All steps: forwards and overhead."""
    draft_ms: float = 0.0
    """Forwards of self-drafters."""
    verify_ms: float = 0.0
    """Forwards of the target."""

    @property
    def overhead_ms(self) -> float:
        """Step time outside forwards."""
        return self.decode_ms - self.draft_ms - self.verify_ms

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens emitted a verify step, bonus included."""
        return self.emitted_tokens / self.verify_steps if self.verify_steps else 0.0

    @property
    def acceptance_rate(self) -> float:
        """Accepted / drafted candidates."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    def count_trials(self, trials: Mapping[str, tuple[int, int]]) -> None:
        """Adds (proposals, right ones) by drafter."""
        self.trials_by.update({name: n for name, (n, _) in trials.items()})
        self.right_by.update({name: right for name, (_, right) in trials.items()})

    @property
    def acceptance_by_drafter(self) -> dict[str, float]:
        return {name: self.accepted_by[name] / drafted for name, drafted in self.drafted_by.items()}

    def count(self, steps: list[tuple[list[str], list[int], list[int]]]) -> None:
        """Counts steps: the drafter of every node of their trees, the accepted path, the tokens emitted."""
        self.verify_steps += len(steps)
        self.draft_steps += sum([len(drafters) > 1 for drafters, _, _ in steps])
        self.accepted_lengths.update([len(emitted) for _, _, emitted in steps])
        self.emitted_tokens += sum([len(emitted) for _, _, emitted in steps])
        self.drafted_by.update([name for drafters, _, _ in steps for name in drafters[1:]])
        self.accepted_by.update([drafters[node] for drafters, path, _ in steps for node in path[1:]])
        self.drafted_tokens, self.accepted_tokens = self.drafted_by.total(), self.accepted_by.total()


@dataclass
class Generation:
    """New token ids (the prompt is not repeated), how they came to their end, and what producing them took."""

    token_ids: list[int]
    statistics: Statistics
    text: str | None = None
    """What they say, up to a stop string; None for a model without a tokenizer."""
    finish_reason: FinishReason = "length"
    """"stop" at an end token, a stop string, a criterion or the end of a grammar, "length" at the limit or the end of the context."""
    stop_reason: int | str | None = None
    """The token or string that ended it, if one did."""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    """One a token, where the request asks for them."""
    raw_scores: list[Tensor] = field(default_factory=list)
    """Rows [1, vocab] of logits, one a token, where the request keeps them; `scores` are those sampled from."""
    scores: list[Tensor] = field(default_factory=list)
