"""Prompts of a suite under a target's tokenizer, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile, zip_longest

from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.suites.prompts import Prompt, prompt_ids


@dataclass(frozen=True)
class TokenPrompt:
    """A prompt of a suite under the target's tokenizer."""

    id: str
    """Of later turns of a conversation with the turn's number, "81#1"."""
    task: str
    token_ids: tuple[int, ...]
    answers: tuple[str, ...] = ()
    """To the turns before."""
    conversation: Prompt | None = None
    """What this is a turn of, where more may follow."""

    @property
    def later_turns(self) -> tuple[str, ...]:
        """IDs of those that follow."""
        if self.conversation is None:
            return ()
        turns = range(len(self.answers) + 1, len(self.conversation.turns))
        return tuple(f"{self.conversation.id}#{turn}" for turn in turns)


def token_prompts(target: TargetModel, prompts: Sequence[Prompt]) -> list[TokenPrompt]:
    """The first turns. Raises UnsupportedOption where the model came without a tokenizer."""
    if target.tokenizer is None:
        raise UnsupportedOption(f"'{target.name}' has no tokenizer; a suite needs one beside the weights")
    return [
        TokenPrompt(prompt.id, prompt.task, tuple(prompt_ids(prompt, target.tokenizer)), conversation=prompt)
        for prompt in prompts
    ]


def with_room(target: TargetModel, prompts: Sequence[Prompt], n_tokens: int) -> list[Prompt]:
    """Those that leave room for `n_tokens` new tokens in the model's context."""
    room = target.max_context - n_tokens
    asked = zip(prompts, token_prompts(target, prompts), strict=True)
    return [prompt for prompt, tokens in asked if 0 < len(tokens.token_ids) <= room]


def following(target: TargetModel, prompt: TokenPrompt, answer: Sequence[int]) -> TokenPrompt | None:
    """The turn after one that got `answer` (token ids, of which those up to an end of sequence count); None after the last."""
    if not prompt.later_turns or prompt.conversation is None:
        return None
    said = list(takewhile(lambda token: token not in target.eos_token_ids, answer))
    answers = (*prompt.answers, target.tokenizer.decode(said, skip_special_tokens=True))
    ids = prompt_ids(prompt.conversation, target.tokenizer, answers)
    return replace(prompt, id=prompt.later_turns[0], token_ids=tuple(ids), answers=answers)


def spread_over_tasks(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """The first `count` prompts when tasks take turns, in the suite's order; all for None."""
    if count is None:
        return list(prompts)
    by_task: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    turns = chain.from_iterable(zip_longest(*by_task.values()))
    chosen = [prompt for prompt in turns if prompt is not None][:count]
    ids = {prompt.id for prompt in chosen}
    return [prompt for prompt in prompts if prompt.id in ids]
