"""The engines of a server: one for its own method, one for each other that requests may name, all over one target.

They step in turns, and share the memory for caches and the kept texts: rows are the target's own, whatever drafted them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from casspec.runtime.batching.draft_switch import Said
from casspec.runtime.batching.engine import BatchedText, BatchEngine
from casspec.runtime.batching.prefix_cache import PrefixCache
from casspec.runtime.decode import Decoder
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.target import TargetModel
from casspec.runtime.session import Listener
from casspec.runtime.text.grammar import Grammar
from casspec.server.settings import Settings
from casspec.server.watching.watches import Watches
from casspec.storage.errors import UnsupportedOption


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step of one engine.

    Attributes:
        n_texts, n_tokens: that shared it, and that it emitted. drafts: whether texts drafted.
        plain_ms: what a step without drafts would take by the profile; None without one, and while a prompt is computed.
    """

    n_texts: int
    n_tokens: int
    milliseconds: float
    drafts: bool
    plain_ms: float | None


@dataclass(frozen=True, slots=True)
class Load:
    """What engines hold now.

    Attributes:
        prefix_hits, prefix_tokens: texts that began like a kept one so far, and tokens that did not have to be computed.
    """

    n_running: int = 0
    n_waiting: int = 0
    cached_bytes: int = 0
    total_bytes: int = 0
    prefix_hits: int = 0
    prefix_tokens: int = 0


@dataclass(frozen=True)
class Methods:
    """What engines are made of: the decoder of requests that name no method, and those of the methods they may name.

    Attributes:
        stored_id: of the profile in the store, whose cascade for a task the decoders may have.
    """

    decoder: Decoder
    others: Mapping[str, Decoder]
    stored_id: str | None = None

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        build: Callable[[str], Decoder],
        names: tuple[str, ...],
        stored_id: str | None = None,
    ) -> Methods:
        """Builds all, their weights included, so that no request waits for them.

        Args:
            build: makes a decoder of a method.

        Raises what `Decoder` raises.
        """
        others = {name: build(name) for name in dict.fromkeys((*names, "autoregressive"))}
        for one in (decoder, *others.values()):
            for mode in ("greedy", "sample"):
                one.policy_with(mode, None)
        return cls(decoder, others, stored_id)


class Engines:
    """Belongs to the thread that steps it.

    Attributes:
        methods: it was made of. decoder: of requests that name no method. prefixes: kept texts. total_bytes: memory for caches.
        watches: what is seen of profiles.
    """

    def __init__(self, methods: Methods, settings: Settings) -> None:
        self._settings = settings
        self.prefixes = PrefixCache()
        self.total_bytes = settings.kv_cache_bytes or 0
        suite = None if settings.record_traffic is None else str(settings.record_traffic)
        self.watches = Watches(settings.model or settings.model_name, suite, settings.calibrate_options)
        self._leaving: list[BatchEngine] = []
        self._engine_of: dict[BatchedText, BatchEngine] = {}
        self._take(methods)

    @property
    def target(self) -> TargetModel:
        return self.decoder.target

    def warm(self) -> None:
        """Decodes a little in every way, so that no request waits for what is compiled or allocated at the first step."""
        prompt = [token % self.target.vocab_size for token in range(1, 40)]
        filtered = {"temperature": 1.0, "seed": 0, "top_p": 0.9, "min_p": 0.01}
        for engine in self._all():
            for options in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 0}, filtered):
                engine.generate([prompt, prompt[:9]], max_new_tokens=6, ignore_eos=True, **options)
        self._warm_grammars(prompt)
        self.watches.forget()
        self.restart()  # what was learnt of these texts is true of no others

    def _warm_grammars(self, prompt: list[int]) -> None:
        """Reads the vocabulary for grammars; without what they need, requests for one are told of that."""
        with contextlib.suppress(UnsupportedOption):
            self._main.generate([prompt], max_new_tokens=6, temperature=0.0, grammar=Grammar.json_object())

    def submit(
        self, prompt: list[int], listener: Listener, sequence: int, method: str | None, options: dict[str, Any]
    ) -> BatchedText:
        """Puts a text in line. Raises as `BatchEngine.submit`, and UnsupportedOption for a method that is not offered."""
        engine = self._main if method is None or method == self.decoder.method else self._others.get(method)
        if engine is None:
            raise UnsupportedOption(
                f"speculation method '{method}' is not offered here; offered: {', '.join(sorted(self._others))}"
            )
        engine.kv_cache_bytes = self.total_bytes
        text = engine.submit(prompt, listener, defaults="model", sequence=sequence, **options)
        if not text.is_over:
            self._engine_of[text] = engine
        return text

    def cancel(self, text: BatchedText) -> None:
        """Ends a text where it stands; its rows are free at once."""
        engine = self._engine_of.pop(text, None)
        if engine is not None:
            engine.cancel(text)

    def step(self) -> list[Stepped]:
        """A step of every engine that has something to do; [] when none has."""
        done = [self._step(engine) for engine in self._all() if engine.n_running or engine.n_waiting]
        self._engine_of = {text: engine for text, engine in self._engine_of.items() if not text.is_over}
        self._leaving = [engine for engine in self._leaving if engine.n_running or engine.n_waiting]
        return done

    def swap(self, methods: Methods) -> None:
        """From now on requests run on these; those under way end on the engines they began on."""
        self._leaving += [self._main, *self._others.values()]
        self._take(methods)

    def restart(self) -> None:
        """Gives up every text and begins anew: what a step that failed left is not known."""
        self._engine_of.clear()
        self._leaving.clear()
        self.prefixes = PrefixCache()
        self._take(self.methods)

    @property
    def gates(self) -> list[Said]:
        """Whether drafts pay for requests that name no method, by size of the batch and decoding mode. Any thread may ask."""
        return self._main.gates

    def load(self) -> Load:
        engines = self._all()
        return Load(
            sum(engine.n_running for engine in engines),
            sum(engine.n_waiting for engine in engines),
            sum(self._own_bytes(engine) for engine in engines) + self.prefixes.n_bytes,
            self.total_bytes,
            self.prefixes.hits,
            self.prefixes.reused_tokens,
        )

    def _take(self, methods: Methods) -> None:
        self.methods, self.decoder = methods, methods.decoder
        profile = self.decoder.profile
        self._predictor = LatencyPredictor(profile.latency) if profile else None
        self._watch = self.watches.of(profile, methods.stored_id)
        self._main = self._engine(methods.decoder)
        self.total_bytes = self.total_bytes or self._main.kv_cache_bytes
        self._others = {name: self._engine(decoder) for name, decoder in methods.others.items()}

    def _engine(self, decoder: Decoder) -> BatchEngine:
        settings = self._settings
        engine = BatchEngine(
            decoder, settings.max_batch, self.total_bytes or None, settings.prefill_rows, watch=self._watch
        )
        engine.prefixes = self.prefixes
        return engine

    def _all(self) -> list[BatchEngine]:
        return [*self._leaving, self._main, *self._others.values()]

    def _step(self, engine: BatchEngine) -> Stepped:
        engine.kv_cache_bytes = self._room(engine)
        begin, before = time.perf_counter(), engine.n_emitted
        engine.step()
        milliseconds = (time.perf_counter() - begin) * 1e3
        texts = [text for text, of in self._engine_of.items() if of is engine and text.has_begun]
        plain = self._plain_ms(texts) if len(texts) == engine.n_running + sum(text.is_over for text in texts) else None
        return Stepped(len(texts), engine.n_emitted - before, milliseconds, engine.drafts, plain)

    def _plain_ms(self, texts: list[BatchedText]) -> float | None:
        if not texts or self._predictor is None:
            return None
        context = sum(len(text.planned.prompt) for text in texts) // len(texts)
        point = self._predictor.forward_point(self.target.full_plan, 1, context, len(texts))
        return self._predictor.predict_ms(point)

    def _room(self, engine: BatchEngine) -> int:
        """Memory that an engine may use: what others do not, less what the text needs that waits longest, where it is of another."""
        room = self.total_bytes - sum(self._own_bytes(other) for other in self._all() if other is not engine)
        waiting = next((text for text in self._engine_of if not text.has_begun), None)
        if waiting is not None and self._engine_of[waiting] is not engine:
            room -= self.target.cache_bytes(waiting.planned.n_rows)
        return room

    def _own_bytes(self, engine: BatchEngine) -> int:
        return engine.cached_bytes - engine.prefixes.n_bytes
