"""What a server did, under the names that operators graph for vLLM, and beside them what only a cascade has.

Counters of drafts are told when a text is over; those of steps, tokens and the queue with every step.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Iterable
from math import nan
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from casspec.runtime.decoding.generation import Statistics
from casspec.server.engines import Load, Stepped
from casspec.server.replies import Reply

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0)
TOKEN_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0, 2.5, 5.0)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
LENGTHS = tuple(range(1, 17))

MEMORY = 0.8
"""Weight of the past in the slowdown, a plain step."""

KEPT = 1024
"""Latencies whose percentiles are told."""

WINDOW_S = 10.0
"""Over which rates of now are taken."""


class Recent:
    """Sums of what steps brought within the last seconds.

    What a plain step would have taken is the profile's prediction, at the slowdown that the newest plain steps had: a busy machine is slow
    for both.
    """

    def __init__(self, seconds: float = WINDOW_S) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int, float, float]] = deque()
        self._begin, self._slowdown = time.monotonic(), 1.0
        self._n_plain = 0

    def add(self, step: Stepped) -> None:
        plain_ms = known_ms = 0.0
        if step.plain_ms is not None:
            if not step.drafts and step.n_tokens <= step.n_texts:
                self._n_plain += 1
                weight = max(1 / self._n_plain, 1 - MEMORY)
                self._slowdown += weight * (step.milliseconds / step.plain_ms - self._slowdown)
            plain_ms = self._slowdown * step.plain_ms * step.n_tokens / max(step.n_texts, 1)
            known_ms = step.milliseconds
        self._seen.append((time.monotonic(), step.n_tokens, plain_ms, known_ms))

    @property
    def tokens_per_second(self) -> float:
        passed = min(self._seconds, time.monotonic() - self._begin)
        return sum(tokens for _, tokens, _, _ in self._kept()) / passed if passed else 0.0

    @property
    def gain(self) -> float | None:
        """How many times longer plain decoding would have taken; None without steps."""
        kept = self._kept()
        took = sum(known for *_, known in kept)
        return sum(plain for _, _, plain, _ in kept) / took if took else None

    def _kept(self) -> deque[tuple[float, int, float, float]]:
        oldest = time.monotonic() - self._seconds
        while self._seen and self._seen[0][0] < oldest:
            self._seen.popleft()
        return self._seen


class Metrics:
    """Of one server; on the event loop only.

    Args:
        model: name that labels everything.

    Attributes:
        load: what engines hold now. drafts: what was decided for the newest step. recent: of the last seconds.
        drafted_by, accepted_by: candidates so far, by drafter. firsts, gaps: seconds to the first token, and between tokens, of late.
    """

    def __init__(self, model: str) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        self.load, self.drafts, self.recent = Load(), True, Recent()
        self.drafted_by, self.accepted_by = Counts[str](), Counts[str]()
        self.firsts, self.gaps = deque[float](maxlen=KEPT), deque[float](maxlen=KEPT)
        self._define_vllm()
        self._define_own()

    def _define_vllm(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._running = gauge("vllm:num_requests_running", "Texts under way.")
        self._waiting = gauge("vllm:num_requests_waiting", "Texts that wait for their turn.")
        self._cache = gauge("vllm:kv_cache_usage_perc", "Share of the memory for caches that is in use, 0 to 1.")
        self._prompt_tokens = counter("vllm:prompt_tokens", "Tokens of prompts.")
        self._tokens = counter("vllm:generation_tokens", "Tokens emitted.")
        self._succeeded = counter("vllm:request_success", "Texts that came to their end.", "finished_reason")
        self._prefix_queries = counter("vllm:prefix_cache_queries", "Tokens of prompts looked for among kept ones.")
        self._prefix_hits = counter("vllm:prefix_cache_hits", "Tokens of prompts found among kept ones.")
        self._first = histogram("vllm:time_to_first_token_seconds", "From a request to its first token.", SECONDS)
        self._gap = histogram("vllm:inter_token_latency_seconds", "Between two tokens of a text.", TOKEN_SECONDS)
        self._whole = histogram("vllm:e2e_request_latency_seconds", "From a request to its end.", SECONDS)
        self._asked = histogram("vllm:request_prompt_tokens", "Tokens of a prompt.", TOKENS)
        self._said = histogram("vllm:request_generation_tokens", "Tokens of a text.", TOKENS)
        self._drafts = counter("vllm:spec_decode_num_drafts", "Steps that verified candidates.")
        self._drafted = counter("vllm:spec_decode_num_draft_tokens", "Candidates verified.")
        self._accepted = counter("vllm:spec_decode_num_accepted_tokens", "Candidates accepted.")
        self._accepted_at = counter(
            "vllm:spec_decode_num_accepted_tokens_per_pos", "Accepted at a position of the draft.", "position"
        )

    def _define_own(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._drafted_from = counter("casspec:draft_tokens", "Candidates verified, by drafter.", "drafter")
        self._accepted_from = counter("casspec:accepted_tokens", "Candidates accepted, by drafter.", "drafter")
        self._steps = counter("casspec:steps", "Steps of a batch, by whether they drafted.", "drafted")
        self._step_s = histogram("casspec:step_seconds", "What a step took.", TOKEN_SECONDS)
        self._plain_s = histogram(
            "casspec:predicted_plain_step_seconds", "What the profile predicts of a step without drafts.", TOKEN_SECONDS
        )
        self._length = histogram("casspec:acceptance_length", "Mean tokens a step, of a text.", LENGTHS)
        self._decision = gauge("casspec:speculation_on", "Whether texts draft now.")
        self._gain = gauge("casspec:gain_over_plain", "Times faster than plain decoding in the last seconds.")
        self._rate = gauge("casspec:tokens_per_second", "Tokens emitted in the last seconds.")
        self._failed = counter("casspec:failed_requests", "Requests that ended in an error or were left.", "reason")

    def stepped(self, steps: Iterable[Stepped], load: Load) -> None:
        """Steps of a turn, and what engines hold after them."""
        self.load = load
        self._running.labels(self._model).set(load.n_running)
        self._waiting.labels(self._model).set(load.n_waiting)
        self._cache.labels(self._model).set(load.cached_bytes / load.total_bytes if load.total_bytes else 0)
        for step in steps:
            self.recent.add(step)
            self.drafts = step.drafts
            self._tokens.labels(self._model).inc(step.n_tokens)
            self._steps.labels(self._model, str(step.drafts).lower()).inc()
            self._step_s.labels(self._model).observe(step.milliseconds / 1e3)
            if step.plain_ms is not None:
                self._plain_s.labels(self._model).observe(step.plain_ms / 1e3)

    def ended(self, reply: Reply) -> None:
        """A request is over, whole or not."""
        if not reply.is_whole:
            self.failed("left")
        if reply.first_s is not None:
            self._first.labels(self._model).observe(reply.first_s)
            self.firsts.append(reply.first_s)
        self.gaps.extend(reply.gaps_s)
        for gap in reply.gaps_s:
            self._gap.labels(self._model).observe(gap)
        self._whole.labels(self._model).observe(reply.age_s)
        for told in reply.told:
            if told.generation is not None:
                self._asked.labels(self._model).observe(len(told.order.prompt))
                self._said.labels(self._model).observe(told.n_tokens)
                self._prompt_tokens.labels(self._model).inc(len(told.order.prompt))
                self._prefix_queries.labels(self._model).inc(len(told.order.prompt))
                self._prefix_hits.labels(self._model).inc(told.statistics.reused_tokens)
                self._succeeded.labels(self._model, told.finish_reason).inc()
                self._count(told.statistics)

    def failed(self, reason: str) -> None:
        """A request ended in an error."""
        self._failed.labels(self._model, reason).inc()

    def page(self) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and the type of that."""
        self._decision.labels(self._model).set(self.drafts)
        self._gain.labels(self._model).set(nan if self.recent.gain is None else self.recent.gain)
        self._rate.labels(self._model).set(self.recent.tokens_per_second)
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def register(self, collector: Collector) -> None:
        """Adds what somebody else counts."""
        self.registry.register(collector)

    def _count(self, statistics: Statistics) -> None:
        self._drafts.labels(self._model).inc(statistics.draft_steps)
        self._drafted.labels(self._model).inc(statistics.drafted_tokens)
        self._accepted.labels(self._model).inc(statistics.accepted_tokens)
        for position, count in accepted_by_position(statistics.accepted_lengths).items():
            self._accepted_at.labels(self._model, str(position)).inc(count)
        self.drafted_by.update(statistics.drafted_by)
        self.accepted_by.update(statistics.accepted_by)
        for name, count in statistics.drafted_by.items():
            self._drafted_from.labels(self._model, name).inc(count)
            self._accepted_from.labels(self._model, name).inc(statistics.accepted_by[name])
        if statistics.verify_steps:
            self._length.labels(self._model).observe(statistics.mean_acceptance_length)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, ["model_name", *labels], registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, ["model_name"], registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[Any, ...]) -> Histogram:
        return Histogram(name, about, ["model_name"], buckets=buckets, registry=self.registry)


def accepted_by_position(lengths: Counts[int]) -> dict[int, int]:
    """How many steps accepted a candidate at each depth, from a histogram of tokens emitted a step: the last of them is no candidate."""
    longest = max(lengths, default=1)
    return {place: sum(n for length, n in lengths.items() if length >= place + 2) for place in range(longest - 1)}
