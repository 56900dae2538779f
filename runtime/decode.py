"""Decoding with one method: a prompt and its options in, texts out; `session.py` has the loop's steps."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.loading.generation_defaults import with_defaults
from casspec.runtime.loading.profile_check import check_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import build_policy
from casspec.runtime.policies.base import ForwardMs
from casspec.runtime.session import Listener, Session, Workplace
from casspec.runtime.text.compiled_grammars import compiler_of
from casspec.runtime.text.request import Request
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from casspec.storage.schema import AUTO, CASCADE, CascadeProfile, Mode


@dataclass(frozen=True)
class PlannedText:
    """A request as it will be decoded.

    Attributes:
        limit: tokens it may emit. noise: it is sampled with; None when greedy.
    """

    prompt: list[int]
    request: Request
    limit: int
    noise: GumbelNoise | None
    mode: Mode

    @property
    def n_rows(self) -> int:
        """Of a cache that holds it, trees included."""
        return len(self.prompt) + self.limit + MAX_TREE_NODES


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
                suppress_tokens, ignore_eos, stop, shown_tokens, grammar, logprobs, processors, criteria, prediction, keep_scores.

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
        listener = listener or Listener()
        request = self._request(self._options(options, defaults), listener)
        limit = self._limit(prompt, request.max_new_tokens)
        if limit == 0:
            text = None if self.target.tokenizer is None else ""
            return [Generation([], Statistics(self.method_in(_mode(request))), text=text) for _ in range(n)]
        mode = _mode(request)
        texts: list[Generation] = []
        session: Session | None = None
        with torch.inference_mode():
            cache = self._cache_for(len(prompt) + limit)
            place = Workplace(self.target, self._policy(mode), self.method_in(mode), cache, self._inputs)
            for sequence in range(first, first + n):
                noise = self._noise(request, sequence)
                session = Session(place, prompt, request, limit, noise, listener, session)
                while not session.is_over:
                    session.step()
                texts.append(session.finish())
        return texts

    def session(
        self,
        input_ids: list[int] | torch.Tensor,
        *,
        defaults: Literal["model"] | None = None,
        listener: Listener | None = None,
        sequence: int = 0,
        **options: Any,
    ) -> Session:
        """A request that is decoded step by step, with a cache and drafters of its own, beside any others.

        Options and errors as of `generate`. Its prompt is prefilled when this returns. Run its steps in `torch.inference_mode()`.

        Args:
            sequence: number of its noise sequence.
        """
        listener = listener or Listener()
        text = self.planned(input_ids, listener, defaults=defaults, sequence=sequence, **options)
        if text.limit == 0:
            raise UnsupportedOption("a session decodes at least one token; ask for max_new_tokens from 1 on")
        with torch.inference_mode():
            cache = self.target.new_cache(text.n_rows)
            place = Workplace(self.target, self._policy(text.mode).fork(), self.method_in(text.mode), cache)
            return Session(place, text.prompt, text.request, text.limit, text.noise, listener)

    def planned(
        self,
        input_ids: list[int] | torch.Tensor,
        listener: Listener,
        *,
        defaults: Literal["model"] | None = None,
        sequence: int = 0,
        **options: Any,
    ) -> PlannedText:
        """What a request asks for, checked, before anything is computed. Arguments and errors as of `session`."""
        prompt = _token_list(input_ids, self.target.vocab_size)
        request = self._request(self._options(options, defaults), listener)
        limit = self._limit(prompt, request.max_new_tokens)
        return PlannedText(prompt, request, limit, self._noise(request, sequence), _mode(request))

    def policy_with(self, mode: Mode, costs: ForwardMs | None) -> Any:
        """A policy of its method, at its parameters, for forwards at other costs than the profile's."""
        return build_policy(
            self.method_in(mode), self.target, self.profile, mode, self._parameters, self._matrix, costs
        )

    def _options(self, options: dict[str, Any], defaults: str | None) -> dict[str, Any]:
        """With what the model asks for in place of what is not given, where that is wanted."""
        if defaults not in (None, "model"):
            raise UnsupportedOption(f"defaults are 'model' or None, not {defaults!r}")
        return with_defaults(self.target, options) if defaults else options

    def _request(self, options: dict[str, Any], listener: Listener) -> Request:
        """From options by name, with a seed where one is needed."""
        request, target = Request.of(**options), self.target
        _check_tokens(request, target.vocab_size)
        if request.grammar is not None:
            compiler_of(target.tokenizer, target.vocab_size).check(request.grammar)
        if self.target.tokenizer is None and (request.stop or listener.on_text):
            raise UnsupportedOption(
                f"model '{self.target.name}' brings no tokenizer, so it has no text to stop at or to tell"
            )
        if request.seed is None and not request.sampling.greedy:
            return replace(request, seed=secrets.randbits(64))  # torch.seed() would reseed the caller's generators
        return request

    def _noise(self, request: Request, sequence: int) -> GumbelNoise | None:
        if request.sampling.greedy or request.seed is None:
            return None
        return GumbelNoise(request.seed, self.target.vocab_size, self.target.device, sequence)

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

    def _cache_for(self, n_tokens: int) -> KVCache:
        """The decoder's cache, grown when a request needs more rows; stale rows are never attended to."""
        needed = n_tokens + MAX_TREE_NODES
        if self._cache is None or self._cache.capacity < needed:
            self._cache = self._inputs = None
            self._cache = self.target.new_cache(needed)
            self._inputs = InputBuffers(self._cache.capacity, self.target.dtype, self.target.device)
        return self._cache


def _mode(request: Request) -> Mode:
    return "greedy" if request.sampling.greedy else "sample"


def _check_tokens(request: Request, vocab_size: int) -> None:
    """Refuses token ids that are none. Raises UnsupportedOption."""
    wrong = next((token for token in request.tokens if not 0 <= token < vocab_size), None)
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
