"""Outside peers of a benchmark: what transformers' own `generate()` takes for the same text with the same weights.

A peer looks like a decoder. Forward hooks on the library's model time its forwards and count what they were given, so
that its row holds the same figures as ours, at a few microseconds a step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from casspec.runtime.decode import Generation, Statistics
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption

PEER_VARIANT = "peer"
PROMPT_LOOKUP = {"prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 3}
"""The settings under which prompt lookup was published (Saxena 2023)."""

EARLY_EXIT_SHARE = 4
"""LayerSkip (Elhoushi et al. 2024) leaves a 7B model after a quarter of its layers."""
TRIAL_TOKENS = 4


def early_exit(target: TargetModel) -> dict[str, Any]:
    """The library's early-exit assistance: the first quarter of the layers drafts, all else as the library has it."""
    return {"assistant_early_exit": max(1, target.n_layers // EARLY_EXIT_SHARE)}


class TransformersPeer:
    """Greedy `generate()` of the library: plain, with its prompt lookup, or with its early-exit assistance.

    Its first forward takes the prompt and emits the first tokens at once, where ours takes the prompt and emits none.
    To compare like with like, the time after that first step is scaled from the tokens it emitted to all of them, and
    what is left of the whole call counts as prefill: the sum of both is the time that was measured.
    """

    def __init__(self, target: TargetModel, **generation_options: Any) -> None:
        self._target = target
        self._options = generation_options

    def refusal(self) -> str | None:
        """Why the library will not decode this model with these options, in its own words; None when it does."""
        try:
            self.generate([0] * TRIAL_TOKENS, TRIAL_TOKENS)
        except Exception as error:  # whatever its code raises on a model it was not written for
            return (str(error).strip().splitlines() or [type(error).__name__])[0]
        return None

    def generate(
        self,
        input_ids: list[int],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop_token_ids: list[int] | None = None,
    ) -> Generation:
        """Exactly `max_new_tokens` greedy tokens; end-of-sequence tokens are text like any other.

        Raises UnsupportedOption for sampling or stop tokens: the library's noise is not ours.
        """
        if temperature != 0 or stop_token_ids:
            raise UnsupportedOption("transformers' generate() is compared in greedy mode only, without stop tokens")
        from transformers import GenerationConfig

        model, device = self._target.library_model, self._target.device
        prompt = torch.tensor([input_ids], device=device)
        config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0, **self._options)
        observer = _Observer(self._target, len(input_ids))
        with own_settings_kept(model), observer.watching(model), torch.inference_mode():
            begin = time.perf_counter()
            ids = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=config,
                stopping_criteria=[observer.after_step],
            )
            token_ids = ids[0, len(input_ids) :].tolist()
            total_ms = (time.perf_counter() - begin) * 1e3
        return Generation(token_ids, observer.statistics(len(token_ids), total_ms, begin))


class _Observer:
    """Watches one call of `generate()` step by step. A forward over fewer layers than the model has is a draft's."""

    def __init__(self, target: TargetModel, n_prompt: int) -> None:
        self._target = target
        self._n_prompt = n_prompt
        self._clock = ForwardClock(target.device)
        self._running: AbstractContextManager[None] | None = None
        self._steps = 0
        self._queries = 0
        self._first_step_end = 0.0
        self._first_step_tokens = 0

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        hooks = (
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def after_step(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """A stopping criterion that never stops."""
        if self._steps == 1:
            if self._target.device.type == "cuda":
                torch.cuda.synchronize(self._target.device)
            self._first_step_end = time.perf_counter()
            self._first_step_tokens = input_ids.shape[1] - self._n_prompt
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    def statistics(self, n_tokens: int, total_ms: float, begin: float) -> Statistics:
        later_tokens = n_tokens - self._first_step_tokens
        decode_ms, scale = total_ms, 1.0
        if later_tokens > 0:
            scale = n_tokens / later_tokens
            decode_ms = (total_ms - (self._first_step_end - begin) * 1e3) * scale
        return Statistics(
            verify_steps=self._steps,
            emitted_tokens=n_tokens,
            drafted_tokens=self._queries - self._n_prompt - (self._steps - 1),
            accepted_tokens=n_tokens - self._steps,
            prefill_ms=total_ms - decode_ms,
            decode_ms=decode_ms,
            draft_ms=self._clock.total_ms("draft") * scale,
            verify_ms=self._clock.total_ms("verify") * scale,
        )

    def _before_forward(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._verifies(model):
            self._queries += kwargs["input_ids"].shape[1]
        part = "verify" if self._verifies(model) else "draft"
        self._running = self._clock.measure(part if self._steps else "prefill")
        self._running.__enter__()

    def _after_forward(self, model: Any, *_: Any) -> None:
        assert self._running is not None
        self._running.__exit__(None, None, None)
        self._steps += self._verifies(model)

    def _verifies(self, model: Any) -> bool:
        return bool(model.config.num_hidden_layers == self._target.n_layers)


@contextmanager
def own_settings_kept(model: Any) -> Iterator[None]:
    """Without the checkpoint's generation defaults, a repetition penalty or an end token would change text and cost.
    An early exit that is interrupted leaves the model with fewer layers: it gets them back. What the library warns of
    in its own calls is kept from the user."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    own, n_layers, verbosity = model.generation_config, model.config.num_hidden_layers, logging.get_verbosity()
    model.generation_config = GenerationConfig()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        model.generation_config, model.config.num_hidden_layers = own, n_layers
        logging.set_verbosity(verbosity)
