"""The batch engine: requests come and go at every step, and all texts under way share each forward of the target."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

import torch

from casspec.runtime.batching.costs import BatchCosts
from casspec.runtime.batching.draft_switch import DraftSwitch, Said
from casspec.runtime.batching.hub import Hub, JointTarget, Strand
from casspec.runtime.batching.prefix_cache import KeptText, PrefixCache
from casspec.runtime.decode import Decoder, PlannedText
from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import ForwardClock, RanForward
from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.lean.quantization import free_bytes
from casspec.runtime.model.plan import Plan
from casspec.runtime.session import Listener, Session, Workplace
from casspec.runtime.watch.profile_watch import ProfileWatch
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from casspec.storage.schema import CASCADE, BatchPrediction, Mode

MAX_BATCH = 32
"""Texts under way at most, unless said otherwise."""

PREFILL_ROWS = 128
"""Rows of prompts in a forward at most, unless said otherwise."""

CLEAR_GAIN = 1.2
"""Predicted speedup from which on a batch begins with drafts: texts of a batch differ, and replay promises too much by as much."""

MEMORY_SHARE = 0.5
"""Of the memory that is free, for caches, unless said otherwise."""


@dataclass(eq=False)
class BatchedText:
    """A request of a batch.

    Attributes:
        generation: what it came to, once it is over; of one that was cancelled, what it had come to.
        error: why it failed. cancelled: whether it was.
    """

    planned: PlannedText
    listener: Listener
    generation: Generation | None = None
    error: Exception | None = None
    cancelled: bool = False
    submitted: float = field(default_factory=time.perf_counter)
    _strand: Strand | None = None
    _session: Session | None = None
    _n_bytes: int = 0
    _has_spoken: bool = False

    @property
    def is_over(self) -> bool:
        return self.generation is not None or self.error is not None or self.cancelled

    @property
    def has_begun(self) -> bool:
        """Whether its prompt is computed, or it is over."""
        return self._session is not None or self.is_over

    def result(self) -> Generation:
        """What it came to. Raises its error, and UnsupportedOption where it is not over."""
        if self.error is not None:
            raise self.error
        if self.generation is None:
            raise UnsupportedOption("the request has come to nothing yet: run the engine's steps")
        return self.generation


class BatchEngine:
    """Decodes many texts with the method of one decoder, each as that decoder would alone.

    Args:
        max_batch: texts under way at once; others wait in line.
        kv_cache_bytes: memory for caches, kept texts included; by default half of what is free.
        prefill_rows: tokens of prompts that are computed in one forward, at most: it bounds what running texts wait for.
        keeps_prefixes: keep the rows of finished texts for those that begin alike.
        watch: hears of texts and forwards.

    Attributes:
        prefixes: kept texts. forward_steps: joint forwards of the target so far.
    """

    def __init__(
        self,
        decoder: Decoder,
        max_batch: int = MAX_BATCH,
        kv_cache_bytes: int | None = None,
        prefill_rows: int = PREFILL_ROWS,
        keeps_prefixes: bool = True,
        watch: ProfileWatch | None = None,
    ) -> None:
        if max_batch < 1 or prefill_rows < 1:
            raise UnsupportedOption("a batch holds at least one text, and a forward at least one row of a prompt")
        self._decoder, self._target = decoder, decoder.target
        self._max_batch, self._prefill_rows, self._keeps = max_batch, prefill_rows, keeps_prefixes
        free = free_bytes(self._target.device)
        self.kv_cache_bytes = kv_cache_bytes or (1 << 62 if free is None else int(MEMORY_SHARE * free))
        most = max_batch * self._target.cache_bytes(self._target.max_context + MAX_TREE_NODES)
        self._target.reserve_caches(min(self.kv_cache_bytes, most))
        profile = decoder.profile
        latency = profile.latency if profile else builtin_latency(self._target)
        self._costs = BatchCosts(LatencyPredictor(latency), self._target.full_plan, self._predicted_speedup)
        self._watch = watch
        self._hub = Hub(self._target, self._costs, prefill_rows, watch)
        self._joint: Any = JointTarget(self._target)
        self._switch = DraftSwitch(self._drafts_pay)
        self._policies: dict[Mode, Any] = {}
        self._waiting: deque[BatchedText] = deque()
        self._running: list[BatchedText] = []
        self.prefixes = PrefixCache()
        self.forward_steps = self._emitted = 0

    def submit(
        self,
        input_ids: list[int] | torch.Tensor,
        listener: Listener | None = None,
        *,
        defaults: Literal["model"] | None = None,
        sequence: int = 0,
        **options: Any,
    ) -> BatchedText:
        """Puts a request in line. Options and errors as of `Decoder.generate`.

        Raises ContextOverflow for one whose cache would not fit although nothing else ran.
        """
        listener = listener or Listener()
        planned = self._decoder.planned(input_ids, listener, defaults=defaults, sequence=sequence, **options)
        text = BatchedText(planned, listener)
        if planned.limit == 0:
            said = None if self._target.tokenizer is None else ""
            text.generation = Generation([], Statistics(self._decoder.method_in(planned.mode)), text=said)
            return text
        text._n_bytes = self._target.cache_bytes(planned.n_rows)
        if text._n_bytes > self.kv_cache_bytes:
            raise ContextOverflow(
                f"the request needs {text._n_bytes / 2**20:,.0f} MiB of cache and {self.kv_cache_bytes / 2**20:,.0f} MiB are planned for; "
                "shorten the prompt or max_new_tokens, or plan more memory"
            )
        self._waiting.append(text)
        return text

    def cancel(self, text: BatchedText) -> None:
        """Ends a request where it stands; its rows are free at once."""
        if text.is_over:
            return
        text.cancelled = True
        if text in self._waiting:
            self._waiting.remove(text)
            return
        assert text._strand is not None
        text._strand.stop()
        if text._session is not None:
            text.generation = text._session.finish()
        self._leave(text)

    @torch.inference_mode()
    def step(self) -> bool:
        """Lets requests in and gives every text one verification, or some of its prompt. Whether anything is left to do."""
        self._let_in()
        if self._running:
            self._round()
            for text in [text for text in self._running if text._strand is None or text._strand.ask is None]:
                self._leave(text)
        return bool(self._running or self._waiting)

    def run(self) -> None:
        """Steps until nothing is left."""
        while self.step():
            pass

    def generate(self, prompts: list[list[int]], **options: Any) -> list[Generation]:
        """A text of each prompt, all with the same options. Raises the error of the first that failed."""
        texts = [self.submit(prompt, **options) for prompt in prompts]
        try:
            self.run()
        except BaseException:
            for text in texts:
                self.cancel(text)
            raise
        return [text.result() for text in texts]

    @property
    def drafts(self) -> bool:
        """Whether texts draft that begin a step now."""
        return self._switch.drafts

    @property
    def gates(self) -> list[Said]:
        """Whether drafts pay, by size of the batch and decoding mode. Any thread may ask."""
        return self._switch.said

    @property
    def n_emitted(self) -> int:
        """Tokens of all texts so far."""
        return self._emitted

    @property
    def n_running(self) -> int:
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def cached_bytes(self) -> int:
        """Memory of caches, of texts under way and of kept ones."""
        return sum(text._n_bytes for text in self._running) + self.prefixes.n_bytes

    def _round(self) -> None:
        strands = [text._strand for text in self._running if text._strand is not None]
        n_texts, fills = len(strands), any(strand.ask is not None and strand.ask.fills for strand in strands)
        begin, before = time.perf_counter(), self._emitted
        modes = {text.planned.mode for text in self._running}
        self._switch.begin_round(n_texts, modes.pop() if len(modes) == 1 else "mixed")
        self._hub.round(strands)
        self.forward_steps += 1
        emitted = 0 if fills else self._emitted - before
        self._costs.end_round(emitted)
        if not fills:
            self._switch.end_round(emitted, (time.perf_counter() - begin) * 1e3)

    # ------------------------------------------------------------------------------------------------- coming and going

    def _let_in(self) -> None:
        while self._waiting and len(self._running) < self._max_batch:
            needed = self._waiting[0]._n_bytes
            while self.cached_bytes + needed > self.kv_cache_bytes and self.prefixes.drop_oldest():
                pass
            if self.cached_bytes + needed > self.kv_cache_bytes:
                return
            text = self._waiting.popleft()
            self._running.append(text)
            self._costs.share(len(self._running))
            text._strand = Strand(lambda text=text: self._decode(text))  # type: ignore[misc]
            text._strand.start()

    def _decode(self, text: BatchedText) -> None:
        """A text from its prompt to its end, on its own stack.

        Its first token is not drafted for: somebody waits for it. And where other texts wait, the policy does not learn from the prompt.
        """
        planned = text.planned
        try:
            policy = self._policy(planned.mode).fork()
            cache = self._target.new_cache(planned.n_rows)
            known = None
            if self._keeps:
                known = self.prefixes.into(planned.prompt, cache)
            place = Workplace(
                self._joint,
                policy,
                self._decoder.method_in(planned.mode),
                cache,
                clock=_SharedClock(self._target.device),
                known=known,
                prefill_chunk=min(self._prefill_rows, QUERY_BUCKETS[-1]),
                keeps_top=self._keeps,
                learns_prompt=len(self._running) + len(self._waiting) == 1,
                drafts=lambda: self._switch.drafts and text._has_spoken,
                stays_in_step=lambda: len(self._running) == 1 or (self._switch.drafts and not text._has_spoken),
            )
            session = Session(place, planned.prompt, planned.request, planned.limit, planned.noise, text.listener)
            text._session = session
            while not session.is_over:
                n_emitted = len(session.step())  # other texts run meanwhile, and count too
                self._emitted += n_emitted
                text._has_spoken = True
            text.generation = session.finish()
            if self._keeps:
                tokens = session.sequence.tokens[:-1]
                self.prefixes.keep(KeptText(tokens, cache, session.top))
        except Exception as error:  # whatever broke, it is of this text: the others go on
            text.error = error

    def _drafts_pay(self, n_texts: int, mode: str) -> bool | None:
        """Whether the profile predicts that the cascade is faster than plain decoding; None where it or the method is another."""
        profile = self._decoder.profile
        if profile is None or mode == "mixed" or self._decoder.method_in(mode) != CASCADE:  # type: ignore[arg-type]
            return None
        prediction = self._prediction(n_texts)
        if prediction is None or mode not in prediction.speedup:
            return None
        return prediction.decision != "off" and prediction.speedup[mode] >= CLEAR_GAIN

    def _predicted_speedup(self, n_texts: int) -> float:
        """Of the cascade over plain decoding, the mean over decoding modes; 1 where nobody knows."""
        prediction = self._prediction(n_texts)
        return fmean(prediction.speedup.values()) if prediction and prediction.speedup else 1.0

    def _prediction(self, n_texts: int) -> BatchPrediction | None:
        """Of the largest batch no larger, as far as its latencies are known."""
        profile = self._decoder.profile
        predicted = profile.predicted_by_batch if profile else ()
        known = [one for one in predicted if one.batch <= n_texts and one.latencies != "extrapolated"]
        return known[-1] if known else None

    def _policy(self, mode: Mode) -> Any:
        if mode not in self._policies:
            self._policies[mode] = self._decoder.policy_with(mode, self._costs)
        return self._policies[mode]

    def _leave(self, text: BatchedText) -> None:
        self._running.remove(text)
        if self._watch is not None and text.generation is not None:
            self._watch.text(text.planned.mode, text.generation.statistics)
        text._strand = text._session = None
        self._costs.share(max(len(self._running), 1))


class _SharedClock(ForwardClock):
    """Of a text that shares its forwards: what they take is the batch's, so no policy learns from it."""

    def measure(self, kind: str, plan: Plan | None = None, n_tokens: int = 0, context_tokens: int = 0) -> RanForward:
        return RanForward(self, kind, None, n_tokens, context_tokens)
