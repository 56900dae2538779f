"""What a benchmark asks of a text generator."""

from __future__ import annotations

from typing import Any

from casspec.runtime.decode import Generation
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE, decoded, request
from casspec.tuner.recordings.recording import prompt_seed
from casspec.tuner.suites.token_prompts import TokenPrompt
from tests.tuner.text_generators import statistics

PROMPT = TokenPrompt("p", "copy", (1, 2, 3))


class Remembering:
    """Emits the numbers from 0 and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def generate(self, input_ids: list[int], max_new_tokens: int, **options: Any) -> Generation:
        self.asked.append({"input_ids": input_ids, "max_new_tokens": max_new_tokens} | options)
        return Generation(list(range(max_new_tokens)), statistics(max_new_tokens, max_new_tokens, 1.0))


def test_a_mode_decides_the_temperature_and_a_turn_the_noise() -> None:
    greedy, sample = request(PROMPT, "greedy", 7), request(PROMPT, "sample", 7)
    assert (greedy.sampling.temperature, sample.sampling.temperature) == (0.0, SAMPLING_TEMPERATURE)
    assert greedy.seed == sample.seed == prompt_seed(7, "p"), "the noise a recording of the prompt has"
    seeds = {request(PROMPT, "sample", seed, turn).seed for seed in (7, 8) for turn in (0, 1, 2)}
    assert len(seeds) == 6


def test_a_text_is_decoded_to_its_full_length_from_the_prompt_that_is_given() -> None:
    generator, asked = Remembering(), request(PROMPT, "sample", 7)
    assert decoded(generator, asked, [1, 2, 3, 4], 5) == [0, 1, 2, 3, 4]
    (told,) = generator.asked
    assert told["stop_token_ids"] == [], "an end of sequence ends no text"
    assert (told["input_ids"], told["max_new_tokens"]) == ([1, 2, 3, 4], 5)
    assert (told["temperature"], told["seed"]) == (SAMPLING_TEMPERATURE, asked.seed)
