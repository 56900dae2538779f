"""What is decoded in a race: a prompt, and per mode the sampling and the seed of the noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casspec.runtime.decode import Generation
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import TextGenerator
from casspec.tuner.recordings.recording import prompt_seed
from casspec.tuner.suites.token_prompts import TokenPrompt

SAMPLING_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Request:
    """What is decoded: a prompt under a mode's sampling and noise."""

    prompt_id: str
    mode: Mode
    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int


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
