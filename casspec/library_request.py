"""A request from what transformers' `generate` prepared: its logits processors and stopping criteria, as options of ours.

`generate` hands over a list of processors in its own order. Those that open it and change single logits, and the warpers that close it,
are options that we apply ourselves, vectorised. Whatever stands between them, or out of that order, is called as it is, once an emitted
token, exactly where the walk through the target's answers stands. Only what looks beyond one text is refused, by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers.generation import (
    ConfidenceCriteria,
    EosTokenCriteria,
    LogitNormalization,
    MaxLengthCriteria,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from casspec.storage.errors import UnsupportedOption

BEYOND_ONE_TEXT = {
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": "it runs the model",
    "ClassifierFreeGuidanceLogitsProcessor": "it compares rows of a batch",
    "DiaClassifierFreeGuidanceLogitsProcessor": "it compares rows of a batch",
    "PrefixConstrainedLogitsProcessor": "it goes by a row's place in a batch",
}
"""Processors by name, and why no single text can have them."""

Options = dict[str, Any]


def request_options(
    processors: Iterable[Any],
    criteria: Iterable[Any],
    do_sample: bool,
    n_prompt: int,
    padding: Sequence[int] = (0,),
) -> tuple[Options, int]:
    """Options of a request, and the length of prompt and output together.

    Args:
        n_prompt: tokens of the prompt, padding included as `generate` counts it.
        padding: tokens of padding on the left of each row.

    Raises UnsupportedOption for a processor or criterion that looks beyond one text, by its name, and where no length is set.
    """
    max_length, ends, others = _read_criteria(criteria)
    listed = list(processors)
    for processor in listed:
        name = type(processor).__name__
        if name in BEYOND_ONE_TEXT:
            raise UnsupportedOption(f"casspec cannot honour {name}: {BEYOND_ONE_TEXT[name]}; leave it out")
    options: Options = {"temperature": 1.0 if do_sample else 0.0, "stop_token_ids": ends, "criteria": others}
    opening = _taken(listed, _OPENING, options, (n_prompt, ends, list(padding)))
    if listed and type(listed[-1]) is LogitNormalization:
        listed.pop()  # it adds a constant, which neither the best token nor a sampled one depends on
    if do_sample:
        closing = _closing(listed[opening:], options)
        listed = listed[: len(listed) - closing]
    options["processors"] = tuple(listed[opening:])
    return options, max_length


def _taken(listed: list[Any], readers: list[tuple[type, Any]], options: Options, about: Any) -> int:
    """Reads processors from the first on for as long as they come in the order of `readers`; how many."""
    place = taken = 0
    for processor in listed:
        found = next((at for at in range(place, len(readers)) if type(processor) is readers[at][0]), None)
        read = None if found is None else readers[found][1](processor, about)
        if found is None or read is None:
            break
        if "min_new_tokens" in read:
            read["min_new_tokens"] = max(read["min_new_tokens"], options.get("min_new_tokens", 0))
        options.update(read)
        place, taken = found + 1, taken + 1
    return taken


def _closing(listed: list[Any], options: Options) -> int:
    """Reads the warpers at the end, as many as come in our order; how many."""
    for first in range(len(listed) + 1):
        read: Options = {}
        if _taken(listed[first:], _WARPERS, read, None) == len(listed) - first:
            options.update(read)
            return len(listed) - first
    return 0


def of_row(processors: Iterable[Any], row: int) -> tuple[Any, ...]:
    """The same for one row of a batch: a penalty that ignores a number of tokens of every row ignores that row's."""
    return tuple(
        RepetitionPenaltyLogitsProcessor(one.penalty, int(one.prompt_ignore_length[row]))
        if type(one) is RepetitionPenaltyLogitsProcessor and isinstance(one.prompt_ignore_length, torch.Tensor)
        else one
        for one in processors
    )


def _repetition(processor: Any, about: tuple[int, list[int], list[int]]) -> Options | None:
    """Where it counts whole prompts, and of padding nothing."""
    padding = about[2]
    ignored = processor.prompt_ignore_length
    if not isinstance(ignored, torch.Tensor):
        ignored = torch.full((len(padding),), ignored or 0)
    return {"repetition_penalty": float(processor.penalty)} if ignored.tolist() == padding else None


def _bad_words(processor: Any, about: Any) -> Options | None:
    return {"bad_words": tuple(tuple(word) for word in processor.sequence_bias)}


def _least_length(processor: Any, about: tuple[int, list[int], list[int]]) -> Options | None:
    n_prompt, ends, _ = about
    return _least(processor.min_length - n_prompt, processor, ends)


def _least_new(processor: Any, about: tuple[int, list[int], list[int]]) -> Options | None:
    n_prompt, ends, _ = about
    return _least(processor.min_new_tokens + processor.prompt_length_to_skip - n_prompt, processor, ends)


def _least(count: int, processor: Any, ends: list[int]) -> Options | None:
    own = torch.as_tensor(processor.eos_token_id).flatten().tolist()
    return {"min_new_tokens": max(int(count), 0)} if set(own) == set(ends) else None


def _suppressed(processor: Any, about: Any) -> Options | None:
    return {"suppress_tokens": tuple(torch.as_tensor(processor.suppress_tokens).flatten().tolist())}


_OPENING: list[tuple[type, Any]] = [
    (RepetitionPenaltyLogitsProcessor, _repetition),
    (NoBadWordsLogitsProcessor, _bad_words),
    (MinLengthLogitsProcessor, _least_length),
    (MinNewTokensLengthLogitsProcessor, _least_new),
    (SuppressTokensLogitsProcessor, _suppressed),
]
"""Processors that change single logits, in the library's order, and what reads them; None where it is not an option of ours."""


def _warper(name: str, attribute: str) -> Callable[[Any, Any], Options | None]:
    def read(warper: Any, about: Any) -> Options | None:
        softly = getattr(warper, "filter_value", -torch.inf) != -torch.inf
        plain = not softly and getattr(warper, "min_tokens_to_keep", 1) == 1
        return {name: getattr(warper, attribute)} if plain else None

    return read


_WARPERS: list[tuple[type, Any]] = [
    (TemperatureLogitsWarper, _warper("temperature", "temperature")),
    (TopKLogitsWarper, _warper("top_k", "top_k")),
    (TopPLogitsWarper, _warper("top_p", "top_p")),
    (MinPLogitsWarper, _warper("min_p", "min_p")),
    (TypicalLogitsWarper, _warper("typical_p", "mass")),
]


def _asked_alone(criterion: Any) -> Callable[[Any, Any], bool]:
    """A criterion as it is, its refusal of one text without scores told by its name."""

    def ask(ids: Any, scores: Any) -> bool:
        try:
            return bool(criterion(ids, scores))
        except (TypeError, RuntimeError) as error:
            raise UnsupportedOption(
                f"casspec cannot honour {type(criterion).__name__}: it is asked about one text, without scores, and answered: {error}"
            ) from error

    return ask


def _read_criteria(criteria: Iterable[Any]) -> tuple[int, list[int], tuple[Any, ...]]:
    """The length of prompt and output together, the ids that end the output, and what has to be asked."""
    max_length, ends, others = None, [], []
    for criterion in criteria:
        if type(criterion) is MaxLengthCriteria:
            max_length = criterion.max_length if max_length is None else min(max_length, criterion.max_length)
        elif type(criterion) is EosTokenCriteria:
            ends += torch.as_tensor(criterion.eos_token_id).flatten().tolist()
        elif isinstance(criterion, ConfidenceCriteria):
            raise UnsupportedOption("casspec cannot honour ConfidenceCriteria: it is of assistant models; leave it out")
        else:
            others.append(_asked_alone(criterion))
    if max_length is None:
        raise UnsupportedOption("generate set no length for casspec to stop at; pass max_new_tokens")
    return max_length, ends, tuple(others)
