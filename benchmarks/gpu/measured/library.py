"""transformers' own `generate()` on the same weights: what every user has without casspec."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.gpu.figures import PLAIN
from benchmarks.gpu.forwards import available
from benchmarks.gpu.measured.decoding import again, run_race
from benchmarks.gpu.race import Course, Entrant
from benchmarks.gpu.stages import Skipped, Work
from casspec.runtime.decode import Decoder, Generation, Statistics
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CASCADE, DeviceCeilings
from casspec.tuner.bench.peers import TransformersPeer, own_settings_kept

EAGER, STATIC = "transformers", "transformers, static cache"


class StaticCachePeer:
    """Greedy `generate()` with the library's static cache, for which it compiles the forward on CUDA."""

    def __init__(self, target: TargetModel) -> None:
        self._target = target

    def generate(
        self,
        input_ids: list[int],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        stop_token_ids: list[int] | None = None,
    ) -> Generation:
        """Exactly `max_new_tokens` tokens. Time is that of the tokens after the first, scaled to all of them.

        Raises UnsupportedOption for sampling: the library's noise is not ours.
        """
        if temperature:
            raise UnsupportedOption("transformers' generate() is compared in greedy mode only")
        from transformers import GenerationConfig

        model, device = self._target.library_model, self._target.device
        prompt = torch.tensor([input_ids], device=device)
        config = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0, cache_implementation="static"
        )
        watch = _FirstTokens(device, len(input_ids))
        with own_settings_kept(model), torch.inference_mode():
            begin = time.perf_counter()
            ids = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), generation_config=config, stopping_criteria=[watch]
            )
            token_ids = ids[0, len(input_ids) :].tolist()
            end = time.perf_counter()
        later = max(len(token_ids) - watch.n_tokens, 1)
        decode_ms = (end - watch.at) * 1e3 / later * len(token_ids)
        statistics = Statistics(
            verify_steps=len(token_ids),
            emitted_tokens=len(token_ids),
            prefill_ms=(end - begin) * 1e3 - decode_ms,
            decode_ms=decode_ms,
        )
        return Generation(token_ids, statistics)


class _FirstTokens:
    """A stopping criterion that never stops; knows when the first tokens were there, and how many."""

    def __init__(self, device: torch.device, n_prompt: int) -> None:
        self._device, self._n_prompt = device, n_prompt
        self.at, self.n_tokens = 0.0, 0

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if not self.n_tokens:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self.at, self.n_tokens = time.perf_counter(), input_ids.shape[1] - self._n_prompt
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def decode_library(work: Work, target: TargetModel, ceilings: DeviceCeilings, course: Course) -> None:
    """`generate()` as it is, beside plain decoding and `dytc`."""
    _beside(work, target, ceilings, course, Entrant(EAGER, "library", TransformersPeer(target), ("greedy",)))


def decode_library_compiled(work: Work, target: TargetModel, ceilings: DeviceCeilings, course: Course) -> None:
    """The same with a static cache, on one prompt: each length of a cache is compiled anew."""
    if target.device.type != "cuda":
        work.note("the library compiles on CUDA only")
    if not course.n_tokens > 1:
        raise Skipped("it takes two new tokens at least")
    longest = max(course.prompts, key=lambda prompt: len(prompt.token_ids))
    one = Course([longest], course.n_tokens, course.rounds, course.seed, course.modes)
    _beside(work, target, ceilings, one, Entrant(STATIC, "library", StaticCachePeer(target), ("greedy",)))


def _beside(work: Work, target: TargetModel, ceilings: DeviceCeilings, course: Course, peer: Entrant) -> None:
    way = available(target)[-1]
    ours = [Entrant(method, way, Decoder(target, method=method)) for method in (PLAIN, CASCADE)]
    greedy = Course(course.prompts, course.n_tokens, course.rounds, course.seed, ("greedy",))
    run_race(work, target, ceilings, [*ours, peer, again(ours[0])], greedy)
