"""The decoding loop: draft, verify, commit, learn."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.walk import Walk
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.loading.generation_defaults import with_defaults
from casspec.runtime.loading.profile_check import check_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS, build_policy
from casspec.runtime.policies.base import VerifyResult
from casspec.runtime.text.adjustments import TextAdjustments
from casspec.runtime.text.detokenize import TextStream
from casspec.runtime.text.request import Request
from casspec.runtime.text.stopping import StoppedText
from casspec.storage.errors import BrokenMethod, ContextOverflow, UnsupportedOption
from casspec.storage.schema import AUTO, CASCADE, CascadeProfile, Mode


@dataclass(frozen=True)
class Listener:
    """Who hears of a text as it is decoded."""

    on_tokens: Callable[[list[int]], None] | None = None
    """Called after each step with the tokens it emitted."""
    on_text: Callable[[str], None] | None = None
    """Called with text as soon as it is certain: whole characters, and nothing that may become a stop string."""


class Decoder:
    """Decodes losslessly with one method.

    Args:
        target: from `casspec.load_target`.
        profile: from `casspec.load_profile` (or a bare document); without one every method runs on built-in priors. Loaded for a task
            with a cascade of its own, `dytc` runs that one.
        method: an id of `casspec.methods()`, or "auto": in each decoding mode the one that the profile predicts to be fastest, `dytc`
            without a profile.
        parameters: overrides of the method's parameters; by default the profile's tuned ones, else the published.

    Raises:
        ProfileMismatch: the profile is of another model or dtype, or of a device with other kernels.
        UnsupportedOption: an unknown method or parameter, or parameters for no method in particular.

    `generate` raises BrokenMethod too, where a method of your own drafts what no step can verify.
    """

    def __init__(
        self,
        target: TargetModel,
        profile: LoadedProfile | CascadeProfile | None = None,
        method: str = AUTO,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        if method == AUTO and parameters:
            raise UnsupportedOption(f"parameters {', '.join(parameters)} belong to a method; name it beside them")
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
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_token_ids: list[int] | None = None,
        on_tokens: Callable[[list[int]], None] | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        defaults: Literal["model"] | None = None,
        **options: Any,
    ) -> Generation:
        """Decodes up to `max_new_tokens` tokens (128), fewer after a stop token or at the end of the model's context.

        Args:
            input_ids: the prompt, list of int or tensor [n] or [1, n]; at least one token.
            temperature: 0 is greedy. Sampling is exact, and the same tokens come out of every method for one `seed`.
            seed: of the sampling noise; None draws one.
            stop_token_ids: default the model's own end-of-sequence ids; [] for none.
            on_tokens: called after each step with the tokens it emitted.
            on_text: called with the text as it becomes certain.
            defaults: "model" takes what is not given from the model's generation config.
            options: any other field of `casspec.runtime.text.request.Request`, `Sampling` or `Adjustments` by its name: min_p,
                typical_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias, bad_words, min_new_tokens,
                suppress_tokens, ignore_eos, stop, logprobs, processors, criteria, keep_scores.

        Raises:
            ContextOverflow: the prompt leaves no room in the model's context.
            UnsupportedOption: a decoding parameter out of range.
        """
        options |= {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        options |= {"seed": seed, "stop_token_ids": stop_token_ids}
        (generation,) = self.samples(input_ids, 1, defaults=defaults, listener=Listener(on_tokens, on_text), **options)
        return generation

    def samples(
        self,
        input_ids: list[int] | torch.Tensor,
        n: int,
        *,
        defaults: Literal["model"] | None = None,
        listener: Listener | None = None,
        first: int = 0,
        **options: Any,
    ) -> list[Generation]:
        """`n` texts of one prompt, whose rows are computed once. Options and errors as of `generate`.

        Args:
            listener: hears of all of them, one text after the other.
            first: number of the first one. Text i is sampled with noise sequence i of the seed, whatever `n` is.
        """
        prompt = _token_list(input_ids, self.target.vocab_size)
        if n < 1:
            raise UnsupportedOption(f"n must be at least 1, got {n}")
        if defaults is not None:
            options = with_defaults(self.target, options)
        request = Request.of(**options)
        _check_tokens(request, self.target.vocab_size)
        if request.stop and self.target.tokenizer is None:
            raise UnsupportedOption(f"model '{self.target.name}' brings no tokenizer, so it cannot stop at strings")
        seed = request.seed
        if seed is None and not request.sampling.greedy:
            seed = secrets.randbits(64)  # torch.seed() would reseed the caller's generators
        texts: list[Generation] = []
        prefilled: Sequence | None = None
        with torch.inference_mode():
            for place in range(first, first + n):
                noise = None
                if seed is not None and not request.sampling.greedy:
                    noise = GumbelNoise(seed, self.target.vocab_size, self.target.device, place)
                generation, prefilled = self._decoded(prompt, request, noise, listener or Listener(), prefilled)
                texts.append(generation)
        return texts

    def _decoded(
        self,
        prompt: list[int],
        request: Request,
        noise: GumbelNoise | None,
        listener: Listener,
        prefilled: Sequence | None,
    ) -> tuple[Generation, Sequence | None]:
        """One text, and its sequence, in whose cache the prompt stands."""
        target, limit = self.target, self._limit(prompt, request.max_new_tokens)
        statistics, clock = Statistics(), ForwardClock(target.device)
        if limit == 0:
            return Generation([], statistics, text=None if target.tokenizer is None else ""), None
        mode: Mode = "greedy" if request.sampling.greedy else "sample"
        statistics.method = self.method_in(mode)
        ends = request.ends(target.eos_token_ids)
        begin = time.perf_counter()
        policy = self._policy(mode)
        cache = self._cache_for(len(prompt) + limit)
        adjustments = None
        if request.adjustments:
            adjustments = TextAdjustments(request.adjustments, prompt, list(ends), target.vocab_size, target.device)
        sequence = Sequence(
            target,
            cache,
            prompt,
            request.sampling,
            noise,
            clock,
            policy.needs_top,
            self._inputs,
            policy.top_by_token,
            adjustments,
            prefilled,
        )
        policy.begin(sequence)
        self._synchronize()
        statistics.prefill_ms = (time.perf_counter() - begin) * 1e3

        heard = 0
        text = StoppedText(target.tokenizer, prompt, request.stop) if request.stop or listener.on_text else None
        walk = Walk(request, sequence, limit, ends, text)
        steps: list[tuple[list[str], list[int], list[int]]] = []
        while walk.finish_reason is None:
            begin = time.perf_counter()
            # 1. Draft a tree under the root; nothing deeper than could still be emitted.
            tree = policy.draft(sequence, walk.remaining - 1)
            if statistics.method not in METHODS:
                self._check_draft(tree, sequence, walk.remaining - 1)
            # 2. One forward of the target over all of it.
            outputs = sequence.verify(tree)
            # 3. Walk along the target's tokens, to the end of the text at most.
            path, emitted = walk.along(tree, outputs)
            # 4. Keep the accepted rows and text.
            sequence.commit(path, emitted)
            # 5. Learn.
            policy.observe(sequence, VerifyResult(tree, path, emitted, outputs))
            steps.append((tree.drafters, path, emitted))
            statistics.decode_ms += (time.perf_counter() - begin) * 1e3
            if listener.on_tokens is not None:
                listener.on_tokens(emitted)
            if listener.on_text is not None and text is not None:
                heard = _tell(listener.on_text, text, heard)
        statistics.count(steps)  # here once: between two forwards it would take several times as long
        statistics.draft_ms, statistics.verify_ms = clock.total_ms("draft"), clock.total_ms("verify")
        if text is not None:
            text.finish()
            if listener.on_text is not None:
                _tell(listener.on_text, text, heard)
        token_ids = sequence.tokens[len(prompt) :]
        generation = Generation(
            token_ids,
            statistics,
            self._said(prompt, token_ids) if text is None else text.text,
            walk.finish_reason,
            walk.stop_reason,
            walk.logprobs,
            walk.raw_scores,
            walk.scores,
        )
        return generation, sequence

    def _said(self, prompt: list[int], token_ids: list[int]) -> str | None:
        if self.target.tokenizer is None:
            return None
        stream = TextStream(self.target.tokenizer, prompt)
        return stream.push(token_ids) + stream.finish()

    def method_in(self, mode: Mode) -> str:
        """The id of the method that decodes in a mode."""
        if self.method != AUTO:
            return self.method
        return self.profile.fastest(mode) if self.profile else CASCADE

    def _limit(self, prompt: list[int], max_new_tokens: int) -> int:
        room = self.target.max_context - len(prompt)
        if room <= 0:
            raise ContextOverflow(
                f"the prompt has {len(prompt)} tokens and the model's context is {self.target.max_context}; shorten the prompt"
            )
        return min(max_new_tokens, room)

    def _policy(self, mode: Mode) -> Any:
        if mode not in self._policies:
            self._policies[mode] = build_policy(
                self.method_in(mode), self.target, self.profile, mode, self._parameters, self._matrix
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


def _tell(on_text: Callable[[str], None], text: StoppedText, heard: int) -> int:
    """Tells of what was not heard yet; returns the characters heard altogether."""
    if len(text.text) > heard:
        on_text(text.text[heard:])
    return len(text.text)


def _check_tokens(request: Request, vocab_size: int) -> None:
    """Refuses token ids that are none. Raises UnsupportedOption."""
    named = [*request.adjustments.tokens, *(request.stop_token_ids or ())]
    wrong = next((token for token in named if not 0 <= token < vocab_size), None)
    if wrong is not None:
        raise UnsupportedOption(f"token id {wrong} is outside the vocabulary of {vocab_size}")


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
