"""Prompts as benchmarks decode them: token ids, and per mode the sampling and the seed of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile, zip_longest

from casspec.runtime.decode import Generation
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import TextGenerator
from casspec.tuner.recordings.recording import prompt_seed
from casspec.tuner.suites.prompts import Prompt, prompt_ids

SAMPLING_TEMPERATURE = 0.7


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


@dataclass(frozen=True)
class Request:
    """What is decoded: a prompt under a mode's sampling and noise."""

    prompt_id: str
    mode: Mode
    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int


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


def request(prompt: TokenPrompt, mode: Mode, seed: int, turn: int = 0) -> Request:
    """The prompt under a mode; `turn` above 0 draws other noise for it."""
    sampling = Sampling(temperature=SAMPLING_TEMPERATURE if mode == "sample" else 0.0)
    name = prompt.id if turn == 0 else f"{prompt.id}#{turn}"
    return Request(prompt.id, mode, prompt.token_ids, sampling, prompt_seed(seed, name))


def generate(generator: TextGenerator, asked: Request, prompt: Sequence[int], n_tokens: int) -> Generation:
    """`n_tokens` new tokens after `prompt` under the request's sampling and noise, past any end-of-sequence token.

    `prompt` is the request's own or one that goes on into its text: noise is fixed by position.
    """
    return generator.generate(
        list(prompt),
        max_new_tokens=n_tokens,
        temperature=asked.sampling.temperature,
        seed=asked.seed,
        stop_token_ids=[],
    )


def decoded(generator: TextGenerator, asked: Request, prompt: Sequence[int], n_tokens: int) -> list[int]:
    """The token ids of `generate`."""
    return generate(generator, asked, prompt, n_tokens).token_ids
