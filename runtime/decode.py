"""The decoding loop: draft, verify, commit, learn."""

from __future__ import annotations

import copy
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import accept, truncate_at_stop
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.loading.profile_check import check_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS, build_policy
from casspec.runtime.policies.base import VerifyResult
from casspec.storage.errors import BrokenMethod, ContextOverflow, UnsupportedOption
from casspec.storage.schema import CascadeProfile, Mode


@dataclass
class Statistics:
    """What one generation did and where its time went. Times in milliseconds."""

    verify_steps: int = 0
    emitted_tokens: int = 0
    drafted_tokens: int = 0
    """Candidates verified, roots excluded."""
    accepted_tokens: int = 0
    accepted_lengths: Counter[int] = field(default_factory=Counter)
    """Histogram of tokens emitted a verify step, bonus included."""
    drafted_by: Counter[str] = field(default_factory=Counter)
    accepted_by: Counter[str] = field(default_factory=Counter)
    prefill_ms: float = 0.0
    """Everything before the first step: prefill forwards, indexing of the prompt."""
    decode_ms: float = 0.0
    """All steps: forwards and overhead."""
    draft_ms: float = 0.0
    """Forwards of self-drafters."""
    verify_ms: float = 0.0
    """Forwards of the target."""

    @property
    def overhead_ms(self) -> float:
        """Step time outside forwards."""
        return self.decode_ms - self.draft_ms - self.verify_ms

    @property
    def mean_acceptance_length(self) -> float:
        """Tokens emitted a verify step, bonus included."""
        return self.emitted_tokens / self.verify_steps if self.verify_steps else 0.0

    @property
    def acceptance_rate(self) -> float:
        """Accepted / drafted candidates."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    @property
    def acceptance_by_drafter(self) -> dict[str, float]:
        return {name: self.accepted_by[name] / drafted for name, drafted in self.drafted_by.items()}

    def count(self, steps: list[tuple[list[str], list[int], list[int]]]) -> None:
        """Counts steps: the drafter of every node of their trees, the accepted path, the tokens emitted."""
        self.verify_steps += len(steps)
        self.accepted_lengths.update([len(emitted) for _, _, emitted in steps])
        self.emitted_tokens += sum([len(emitted) for _, _, emitted in steps])
        self.drafted_by.update([name for drafters, _, _ in steps for name in drafters[1:]])
        self.accepted_by.update([drafters[node] for drafters, path, _ in steps for node in path[1:]])
        self.drafted_tokens, self.accepted_tokens = self.drafted_by.total(), self.accepted_by.total()


@dataclass
class Generation:
    """New token ids (the prompt is not repeated) and what producing them took."""

    token_ids: list[int]
    statistics: Statistics


class Decoder:
    """Decodes losslessly with one method.

    Args:
        target: from `casspec.load_target`.
        profile: from `casspec.load_profile` (or a bare document); without one every method runs on built-in priors. Loaded for a task
            with a cascade of its own, `dytc` runs that one.
        method: an id of `casspec.methods()`.
        parameters: overrides of the method's parameters; by default the profile's tuned ones, else the published.

    Raises:
        ProfileMismatch: the profile is of another model or dtype, or of a device with other kernels.
        UnsupportedOption: an unknown method or parameter.

    `generate` raises BrokenMethod too, where a method of your own drafts what no step can verify.
    """

    def __init__(
        self,
        target: TargetModel,
        profile: LoadedProfile | CascadeProfile | None = None,
        method: str = "dytc",
        parameters: dict[str, Any] | None = None,
    ) -> None:
        loaded = LoadedProfile(profile) if isinstance(profile, CascadeProfile) else profile or LoadedProfile(None)
        if loaded.document is not None:
            check_profile(loaded.document, target)
        self.target = target
        self.profile = loaded.cascade
        self.method = method
        self._parameters = parameters
        self._matrix = loaded.recycling_matrix
        self._policies: dict[str, Any] = {}
        self._cache: KVCache | None = None
        self._inputs: InputBuffers | None = None
        self._keeps_learned = False
        self._policy("greedy")

    def with_memory(self) -> Decoder:
        """A decoder like this one, but with drafters that keep what earlier requests taught them; their state begins fresh.

        What is decoded stays the same, only the speed may change.
        """
        other = copy.copy(self)
        other._policies, other._cache, other._inputs, other._keeps_learned = {}, None, None, True
        return other

    def generate(
        self,
        input_ids: list[int] | torch.Tensor,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_token_ids: list[int] | None = None,
        on_tokens: Callable[[list[int]], None] | None = None,
    ) -> Generation:
        """Decodes up to `max_new_tokens` tokens, fewer after a stop token or at the end of the model's context.

        Args:
            input_ids: the prompt, list of int or tensor [n] or [1, n]; at least one token.
            temperature: 0 is greedy. Sampling is exact, and the same tokens come out of every method for one `seed`.
            seed: of the sampling noise; None draws one.
            stop_token_ids: default the model's own end-of-sequence ids; [] for none.
            on_tokens: called after each step with the tokens it emitted.

        Raises:
            ContextOverflow: the prompt leaves no room in the model's context.
            UnsupportedOption: a decoding parameter out of range.
        """
        prompt = _token_list(input_ids, self.target.vocab_size)
        sampling = Sampling(temperature, top_k, top_p)
        limit = self._limit(prompt, max_new_tokens)
        stop = frozenset(self.target.eos_token_ids if stop_token_ids is None else stop_token_ids)
        statistics, clock = Statistics(), ForwardClock(self.target.device)
        if limit == 0:
            return Generation([], statistics)
        noise = None
        if not sampling.greedy:
            seed = secrets.randbits(64) if seed is None else seed  # torch.seed() would reseed the caller's generators
            noise = GumbelNoise(seed, self.target.vocab_size, self.target.device)

        with torch.inference_mode():
            begin = time.perf_counter()
            policy = self._policy("greedy" if sampling.greedy else "sample")
            cache = self._cache_for(len(prompt) + limit)
            top = policy.needs_top, self._inputs, policy.top_by_token
            sequence = Sequence(self.target, cache, prompt, sampling, noise, clock, *top)
            policy.begin(sequence)
            self._synchronize()
            statistics.prefill_ms = (time.perf_counter() - begin) * 1e3

            steps: list[tuple[list[str], list[int], list[int]]] = []
            remaining, over = limit, False
            while not over:
                begin = time.perf_counter()
                # 1. Draft a tree under the root; nothing deeper than could still be emitted.
                tree = policy.draft(sequence, remaining - 1)
                if self.method not in METHODS:
                    self._check_draft(tree, sequence, remaining - 1)
                # 2. One forward of the target over all of it.
                outputs = sequence.verify(tree)
                # 3. Walk along the target's tokens; end at a stop token or the limit.
                path, emitted, over = truncate_at_stop(*accept(tree, outputs.token_after), remaining, stop)
                # 4. Keep the accepted rows and text.
                sequence.commit(path, emitted)
                # 5. Learn.
                policy.observe(sequence, VerifyResult(tree, path, emitted, outputs))
                remaining -= len(emitted)
                steps.append((tree.drafters, path, emitted))
                statistics.decode_ms += (time.perf_counter() - begin) * 1e3
                if on_tokens is not None:
                    on_tokens(emitted)
            statistics.count(steps)  # here once: between two forwards it would take several times as long
        statistics.draft_ms, statistics.verify_ms = clock.total_ms("draft"), clock.total_ms("verify")
        return Generation(sequence.tokens[len(prompt) :], statistics)

    def _limit(self, prompt: list[int], max_new_tokens: int) -> int:
        if max_new_tokens < 0:
            raise UnsupportedOption(f"max_new_tokens must not be negative, got {max_new_tokens}")
        room = self.target.max_context - len(prompt)
        if room <= 0:
            raise ContextOverflow(
                f"the prompt has {len(prompt)} tokens and the model's context is {self.target.max_context}; shorten the prompt"
            )
        return min(max_new_tokens, room)

    def _policy(self, mode: Mode) -> Any:
        if mode not in self._policies:
            self._policies[mode] = build_policy(
                self.method, self.target, self.profile, mode, self._parameters, self._matrix
            )
            self._policies[mode].keeps_learned = self._keeps_learned
        return self._policies[mode]

    def _check_draft(self, tree: CandidateTree, sequence: Sequence, max_depth: int) -> None:
        """Refuses a tree of somebody else's method that would make the step another one than the target's. Raises BrokenMethod."""
        tokens = tree.tokens
        if tokens[0] != sequence.tokens[-1]:
            fault = f"a tree whose root is token {tokens[0]}, where the last token of the text is {sequence.tokens[-1]}"
        elif len(tokens) > MAX_TREE_NODES:
            fault = f"a tree of {len(tokens)} nodes; a step can verify {MAX_TREE_NODES}"
        elif max(tree.depths) > max_depth:
            fault = f"{max(tree.depths)} tokens deep, where at most {max_depth} were asked for"
        elif min(tokens) < 0 or max(tokens) >= self.target.vocab_size:
            fault = f"a token outside the vocabulary of {self.target.vocab_size}"
        else:
            return
        raise BrokenMethod(f"method '{self.method}' drafted {fault}; mend its `draft` or choose another method")

    def _cache_for(self, n_tokens: int) -> KVCache:
        """The decoder's cache, grown when a request needs more rows; stale rows are never attended to."""
        needed = n_tokens + MAX_TREE_NODES
        if self._cache is None or self._cache.capacity < needed:
            self._cache = self._inputs = None
            self._cache = self.target.new_cache(needed)
            self._inputs = InputBuffers(self._cache.capacity, self.target.dtype, self.target.device)
        return self._cache

    def _synchronize(self) -> None:
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)


def _token_list(input_ids: list[int] | torch.Tensor, vocab_size: int) -> list[int]:
    if isinstance(input_ids, torch.Tensor):
        if input_ids.dim() == 2 and input_ids.shape[0] != 1:
            raise UnsupportedOption(f"one prompt at a time, got a batch of {input_ids.shape[0]}")
        tokens = input_ids.flatten().tolist()
    else:
        tokens = [int(token) for token in input_ids]
    if not tokens:
        raise UnsupportedOption("the prompt is empty; give at least one token")
    if min(tokens) < 0 or max(tokens) >= vocab_size:
        raise UnsupportedOption(f"the prompt holds token ids outside the vocabulary of {vocab_size}")
    return tokens
