"""Prompts of a suite under a target's tokenizer, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.detokenize import decoded
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.settings import Long
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
    n_cut: int = 0
    """Tokens that were cut off at the front."""

    @property
    def later_turns(self) -> tuple[str, ...]:
        """IDs of those that follow."""
        if self.conversation is None:
            return ()
        return tuple(map(self.conversation.turn_id, range(len(self.answers) + 1, len(self.conversation.turns))))


@dataclass(frozen=True)
class Room:
    """How many tokens a prompt may have, and what becomes of one that has more."""

    tokens: int
    long: Long = "skip"

    @classmethod
    def before(cls, target: TargetModel, n_tokens: int, long: Long = "skip") -> Room:
        """What `n_tokens` new tokens leave in the model's context."""
        return cls(target.max_context - n_tokens, long)

    def fitted(self, prompt: TokenPrompt) -> TokenPrompt | None:
        """The prompt, or the last tokens of one that is cut; None where it is empty or too long."""
        excess = len(prompt.token_ids) - self.tokens
        if excess > 0 and self.long == "cut" and self.tokens > 0:
            return replace(prompt, token_ids=prompt.token_ids[excess:], n_cut=excess)
        return prompt if prompt.token_ids and excess <= 0 else None


def token_prompts(target: TargetModel, prompts: Sequence[Prompt]) -> list[TokenPrompt]:
    """The first turns. Raises UnsupportedOption where the model came without a tokenizer."""
    return [turn_prompt(target, prompt, ()) for prompt in prompts]


def with_room(target: TargetModel, prompts: Sequence[Prompt], n_tokens: int, long: Long = "skip") -> list[Prompt]:
    """Those whose first turn leaves room for `n_tokens` new tokens in the model's context, or is cut until it does."""
    room = Room.before(target, n_tokens, long)
    asked = zip(prompts, token_prompts(target, prompts), strict=True)
    return [prompt for prompt, tokens in asked if room.fitted(tokens)]


def turn_prompt(target: TargetModel, conversation: Prompt, answers: Sequence[Sequence[int]]) -> TokenPrompt:
    """The turn after those that got `answers`; recorded answers count instead of these.

    Args:
        answers: token ids, of which those up to an end of sequence count.

    Raises UnsupportedOption where the model came without a tokenizer.
    """
    if target.tokenizer is None:
        raise UnsupportedOption(f"'{target.name}' has no tokenizer; a suite needs one beside the weights")
    told = tuple(_answer(target, conversation, turn, answer) for turn, answer in enumerate(answers))
    ids = tuple(prompt_ids(conversation, target.tokenizer, told))
    return TokenPrompt(conversation.turn_id(len(told)), conversation.task, ids, told, conversation)


def _answer(target: TargetModel, conversation: Prompt, turn: int, answer: Sequence[int]) -> str:
    if turn < len(conversation.answers):
        return conversation.answers[turn]
    said = list(takewhile(lambda token: token not in target.eos_token_ids, answer))
    return decoded(target.tokenizer, said)


def following(target: TargetModel, prompt: TokenPrompt, answer: Sequence[int]) -> TokenPrompt | None:
    """The turn after one that got `answer` (token ids, of which those up to an end of sequence count); None after the last."""
    conversation = prompt.conversation
    if not prompt.later_turns or conversation is None:
        return None
    answers = (*prompt.answers, _answer(target, conversation, len(prompt.answers), answer))
    ids = prompt_ids(conversation, target.tokenizer, answers)
    return TokenPrompt(prompt.later_turns[0], prompt.task, tuple(ids), answers, conversation)
