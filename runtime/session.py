"""One request being decoded, step by step: draft, verify, walk, commit, learn. Several can be alive at once, each with its own cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from casspec.runtime.decoding.constrained import ConstrainedTree
from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, KnownPrefix, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.walk import Walk
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.runtime.policies.base import Policy, VerifyResult
from casspec.runtime.policies.predicted import Predicted
from casspec.runtime.text.adjustments import TextAdjustments
from casspec.runtime.text.compiled_grammars import compiler_of
from casspec.runtime.text.detokenize import TextStream
from casspec.runtime.text.grammar import Grammar
from casspec.runtime.text.grammar_state import GrammarState
from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.runtime.text.request import Request
from casspec.runtime.text.stopping import StoppedText
from casspec.storage.errors import BrokenMethod

FORCED_ALONE = 3
"""From so many tokens on that a grammar forces, a step drafts nothing else: it would only guess what is known."""


@dataclass(frozen=True)
class Listener:
    """Who hears of a text as it is decoded."""

    on_tokens: Callable[[list[int]], None] | None = None
    """Called after each step with the tokens it emitted."""
    on_text: Callable[[str], None] | None = None
    """Called with text as soon as it is certain: whole characters, and nothing that may become a stop string."""
    on_logprobs: Callable[[list[TokenLogprobs]], None] | None = None
    """Called after each step with those of its tokens, where the request asks for them."""


@dataclass(frozen=True)
class Workplace:
    """What one request decodes with, and nobody else at the same time.

    Attributes:
        policy: of the method, its state the request's own. method: its id.
        cache: with room for prompt, text and a tree. inputs: for as many rows.
        clock: where its forwards are timed. known: what the cache holds of the prompt's beginning.
        prefill_chunk: tokens of the prompt in a forward, at most.
        keeps_top: keep the target's best successors along the text, where the policy learns from them: `Session.top`.
        learns_prompt: let the policy learn from the target's best successors after the prompt's tokens. They take a fifth of a prefill.
        drafts: whether the next step does; None for always. After steps that did not, the policy begins anew.
        stays_in_step: whether in a step that does not draft the policy is asked for the root alone and told what followed instead, so that
            it goes on where it was; None for never.
    """

    target: TargetModel
    policy: Policy
    method: str
    cache: KVCache
    inputs: InputBuffers | None = None
    clock: ForwardClock | None = None
    known: KnownPrefix | None = None
    prefill_chunk: int = QUERY_BUCKETS[-1]
    keeps_top: bool = False
    learns_prompt: bool = True
    drafts: Callable[[], bool] | None = None
    stays_in_step: Callable[[], bool] | None = None


class Session:
    """A request from its prefill to its end.

    Args:
        limit: tokens that may be emitted, at least one.
        noise: of the text; None when greedy.
        prefilled: a session of the same prompt in the same cache; then nothing is prefilled.
    """

    def __init__(
        self,
        place: Workplace,
        prompt: list[int],
        request: Request,
        limit: int,
        noise: GumbelNoise | None,
        listener: Listener,
        prefilled: Session | None = None,
    ) -> None:
        begin = time.perf_counter()
        target, policy = place.target, place.policy
        if request.prediction:
            policy = Predicted(policy, request.prediction)
        ends = request.ends(target.eos_token_ids)
        adjustments = None
        if request.adjustments:
            adjustments = TextAdjustments(request.adjustments, prompt, list(ends), target.vocab_size, target.device)
        self._place, self._policy, self._prompt, self._listener = place, policy, prompt, listener
        self._clock = place.clock or ForwardClock(target.device)
        self.sequence: Sequence = Sequence(
            target,
            place.cache,
            prompt,
            request.sampling,
            noise,
            self._clock,
            policy.needs_top,
            place.inputs,
            policy.top_by_token,
            adjustments,
            None if prefilled is None else prefilled.sequence,
            place.known,
            place.prefill_chunk,
            None if request.grammar is None else self._begun(request.grammar, ends),
            place.learns_prompt,
        )
        ids, logits = self.sequence.prompt_top
        knows_all = len(ids) == len(prompt) - 1 and not policy.top_by_token
        self._keeps_top = place.keeps_top and policy.needs_top and knows_all
        if not self._keeps_top:
            ids, logits = [], []
        self.top = list(ids), list(logits)
        """Best successors (ids, logits) after each committed token, where they are kept."""
        policy.begin(self.sequence)
        policy.take_trials()  # of a text that was left before its end
        if target.device.type == "cuda":
            torch.cuda.synchronize(target.device)
        self.statistics = Statistics(method=place.method, prefill_ms=(time.perf_counter() - begin) * 1e3)
        self.statistics.reused_tokens = 0 if place.known is None else place.known.n_tokens
        reads_along = bool(request.stop) or listener.on_text is not None
        self._text = StoppedText(target.tokenizer, prompt, request.stop, request.shown_tokens) if reads_along else None
        self._heard, self._shown = 0, request.shown_tokens
        self._behind = False  # whether steps passed that the policy was not told of
        self._walk = Walk(request, self.sequence, limit, ends, self._text)
        self._steps: list[tuple[list[str], list[int], list[int]]] = []

    @property
    def is_over(self) -> bool:
        return self._walk.finish_reason is not None

    def step(self) -> list[int]:
        """One verification; the tokens it emitted. Raises BrokenMethod where a method of somebody else drafts what none can verify."""
        begin = time.perf_counter()
        policy, sequence, walk = self._policy, self.sequence, self._walk
        drafts = self._place.drafts is None or self._place.drafts()
        follows = drafts or (self._place.stays_in_step is not None and self._place.stays_in_step())
        if follows and self._behind:
            policy.begin(sequence)
        self._behind = not follows
        # 1. Draft a tree under the root; nothing deeper than could still be emitted, nothing that the grammar rules out.
        drafted = self._drafted(drafts, follows)
        tree = drafted.verified
        # 2. One forward of the target over all of it.
        outputs = sequence.verify(tree, successors=follows)
        # 3. Walk along the target's tokens, to the end of the text at most.
        path, emitted = walk.along(tree, outputs)
        # 4. Keep the accepted rows and text.
        sequence.commit(path, emitted)
        # 5. Learn.
        if follows:
            own, said = drafted.of_drafted(path), drafted.outputs(outputs)
            told = VerifyResult(drafted.drafted, own, emitted, said, drafted.ruled_out, drafted.n_drafted)
            policy.observe(sequence, told)
        else:
            self._keeps_top = False  # those of later tokens would stand at places of others
        if self._keeps_top:
            ids, logits = outputs.rows(path)
            self.top[0].extend(ids)
            self.top[1].extend(logits)
        self._steps.append((tree.drafters, path, emitted))
        self.statistics.decode_ms += (time.perf_counter() - begin) * 1e3
        if self._listener.on_tokens is not None:
            self._listener.on_tokens(emitted)
        if self._listener.on_logprobs is not None and walk.logprobs:
            self._listener.on_logprobs(walk.logprobs[-len(emitted) :])
        self._tell()
        return emitted

    def _drafted(self, drafts: bool, follows: bool) -> ConstrainedTree:
        """The tree of the next step; of a step that does not draft its root, and what a grammar forces.

        Args:
            follows: whether the policy is told of the step.
        """
        policy, sequence, depth = self._policy, self.sequence, self._walk.remaining - 1
        grammar, n_forced = sequence.grammar, 0
        if grammar is not None and policy.speculates:
            n_forced = min(len(grammar.forced(())), depth)
        depth_drafted = 0 if n_forced >= FORCED_ALONE or not drafts else depth
        tree = policy.draft(sequence, depth_drafted) if follows else CandidateTree(sequence.tokens[-1])
        if self._place.method not in METHODS:
            self._check_draft(tree, depth_drafted)
        if grammar is None or not policy.speculates:
            return ConstrainedTree.free(tree)
        return ConstrainedTree.of(tree, grammar, depth, MAX_TREE_NODES)

    def _begun(self, grammar: Grammar, ends: Collection[int]) -> GrammarState:
        target = self._place.target
        return compiler_of(target.tokenizer, target.vocab_size).begin(grammar, ends)

    def finish(self) -> Generation:
        """What the request came to; of a session that is not over, what it has come to so far. No step follows."""
        statistics, walk = self.statistics, self._walk
        statistics.count(self._steps)  # here once: between two forwards it would take several times as long
        statistics.count_trials(self._place.policy.take_trials())
        statistics.draft_ms, statistics.verify_ms = self._clock.total_ms("draft"), self._clock.total_ms("verify")
        if self._text is not None:
            self._text.finish()
            self._tell()
        token_ids = self.sequence.tokens[len(self._prompt) :]
        return Generation(
            token_ids,
            statistics,
            self._said(token_ids) if self._text is None else self._text.text,
            walk.finish_reason or "length",
            walk.stop_reason,
            walk.logprobs,
            walk.raw_scores,
            walk.scores,
        )

    def _tell(self) -> None:
        """Tells the listener of text that was not heard yet."""
        if self._text is None or self._listener.on_text is None:
            return
        fresh = self._text.text[self._heard :]
        if fresh:
            self._heard += len(fresh)
            self._listener.on_text(fresh)

    def _said(self, token_ids: list[int]) -> str | None:
        if self._place.target.tokenizer is None:
            return None
        stream = TextStream(self._place.target.tokenizer, self._prompt, self._shown)
        return stream.push(token_ids) + stream.finish()

    def _check_draft(self, tree: CandidateTree, max_depth: int) -> None:
        """Refuses a tree of somebody else's method that would make the step another one than the target's."""
        tokens, root, vocab_size = tree.tokens, self.sequence.tokens[-1], self._place.target.vocab_size
        if tokens[0] != root:
            fault = f"a tree whose root is token {tokens[0]}, where the last token of the text is {root}"
        elif len(tokens) > MAX_TREE_NODES:
            fault = f"a tree of {len(tokens)} nodes; a step can verify {MAX_TREE_NODES}"
        elif max(tree.depths) > max_depth:
            fault = f"{max(tree.depths)} tokens deep, where at most {max_depth} were asked for"
        elif min(tokens) < 0 or max(tokens) >= vocab_size:
            fault = f"a token outside the vocabulary of {vocab_size}"
        else:
            return
        raise BrokenMethod(f"method '{self._place.method}' drafted {fault}; mend its `draft` or choose another method")
