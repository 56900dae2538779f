"""What stands in for a text being decoded when there is no model: the recording as the target, traces as its plans.

A recording holds the target's token at every position of its text, so a policy's tree can be verified against it: candidates on the
recorded path are accepted, all others rejected, exactly as in a real decode with the same noise. The policy sees what it would see
for real (text so far, noise, the target's recorded successors after accepted tokens) and does not know when it has left the path.
A plan says on the path what it said there when it was traced. Off the path, where nothing was traced, it says what it said at some
other place: tokens that are not accepted, as sure of itself as it usually is and agreeing with what was drafted as often, for a
plan does not notice that the text it goes on from is wrong. (Were it as doubtful as where it errs, trees would stay smaller
than in real decodes.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from casspec.runtime.decoding.noise import GumbelNoise, NoiseRow
from casspec.runtime.decoding.sequence import Proposal
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.timing import RanForward
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import RecordingKey, TracedPlan

STRIDE = 7919
"""Places apart of what nearby nodes say off the path: a prime, so that every place is drawn."""


def noise_of(recording: Recording, vocab_size: int) -> GumbelNoise | None:
    """The noise a recording was sampled with; None for a greedy one."""
    return None if recording.sampling.greedy else GumbelNoise(recording.seed, vocab_size)


@dataclass(frozen=True)
class Drafting:
    """What the plans a policy may ask said, and what a forward of one costs, everything beside the forward included."""

    traced: Callable[[Plan], TracedPlan]
    draft_ms: ForwardMs


class RecordedText:
    """Stands in for `runtime.sequence.Sequence`: same text, same noise, the recording as the target.

    Attributes:
        drafting: what plans say and cost; None for policies without.
        draft_ms: predicted time of the drafts since it was last set to 0. drafts: how many there were in all.
    """

    def __init__(self, recording: Recording, noise: GumbelNoise | None, drafting: Drafting | None = None) -> None:
        self.recording = recording
        self.key: RecordingKey = (recording.prompt_id, recording.mode)
        self.draft_ms, self.drafts = 0.0, 0
        # Drafted tokens that plans were asked about on the path, and those of them they would have drafted; begun with a half.
        self._met, self._agreed = 2, 1
        self.sampling = recording.sampling
        self.tokens: list[int] = recording.prompt_tokens.tolist()
        self.drafting = drafting
        self._text: list[int] = recording.tokens.tolist()
        self._ids, self._logits = recording.successors
        self._noise = noise
        self.prompt_length = len(self.tokens)
        known = self.committed
        self.prompt_top, self.prompt_places = (self._ids[:known], self._logits[:known]), range(known)

    @property
    def committed(self) -> int:
        return len(self.tokens) - 1

    def noise_rows(self, count: int) -> list[NoiseRow] | None:
        return None if self._noise is None else self._noise.host_rows(len(self.tokens), count)

    def recent_forwards(self) -> list[RanForward]:
        """None: nothing runs here."""
        return []

    def propose(
        self, plan: Plan, tree: CandidateTree, nodes: list[int], width: int = 1, probabilities: bool = False
    ) -> list[Proposal]:
        """As `Sequence.propose`, from the traces of the plan; its forward is charged, rows it has to compute anew included."""
        if self.drafting is None:
            raise ValueError(f"plan '{plan.name}' was not traced on this recording, so nobody knows what it would say")
        traced, queries = self.drafting.traced(plan), tree.unwritten(nodes, plan.name)
        for node in queries:
            tree.writers[node] = plan.name
        self.draft_ms += self.drafting.draft_ms(plan, len(queries), self.committed)
        self.drafts += 1
        on_path, first = self.on_path(tree), self.committed + 1 - self.prompt_length
        said = []
        for node in nodes:
            depth = tree.depths[node]
            if on_path[node]:
                proposal = traced.said(self.key, first + depth, depth)
                self._note_agreement(tree, node, proposal)
                tokens = proposal.tokens[:width]
            else:
                draw = (len(self.tokens) * 31 + node) * STRIDE
                proposal = traced.astray(draw)
                tokens = self._agreeing(tree, node, proposal.tokens, draw)[:width]
            said.append(Proposal(tokens, proposal.scores[: width + 1], proposal.probabilities[:width]))
        return said

    def best_after(self, plan: Plan, tree: CandidateTree, nodes: list[int], n: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Sequence.best_after`, but for ids of the last, which nobody reads."""
        said = self.propose(plan, tree, nodes, n - 1)
        ids = [[*proposal.tokens, -1][:n] for proposal in said]
        return np.array(ids, np.int64), np.array([proposal.scores[:n] for proposal in said], np.float32)

    def _note_agreement(self, tree: CandidateTree, node: int, proposal: Proposal) -> None:
        """Counts how often a plan's token is the one that was drafted first after a node it is asked about."""
        children = tree.children(node)
        if children:
            self._met += 1
            self._agreed += tree.tokens[children[0]] == proposal.tokens[0]

    def _agreeing(self, tree: CandidateTree, node: int, tokens: list[int], draw: int) -> list[int]:
        """Off the path: `tokens` behind the one drafted first, as often as a plan agreed with that on the path."""
        children = tree.children(node)
        if not children or draw % 1000 >= 1000 * self._agreed / self._met:
            return tokens
        first = tree.tokens[children[0]]
        return [first, *(token for token in tokens if token != first)]

    def targets(self, tree: CandidateTree) -> list[int]:
        """The recorded token after each node, by depth; only those on the recorded path are ever read."""
        end = len(self.tokens)
        return [self._text[min(end + depth, len(self._text) - 1)] for depth in tree.depths]

    def on_path(self, tree: CandidateTree) -> list[bool]:
        """Whether each node's whole path is the recorded text."""
        text, end = self._text, len(self.tokens)
        true = [True]
        for parent, token, depth in zip(tree.parents[1:], tree.tokens[1:], tree.depths[1:], strict=True):
            place = end + depth - 1
            true.append(true[parent] and place < len(text) and text[place] == token)
        return true

    def successors(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        """Recorded successors after the accepted `nodes`; asked once the emitted tokens were appended."""
        start = self._first_row
        return self._ids[start : start + len(nodes)], self._logits[start : start + len(nodes)]

    def commit(self, emitted: list[int]) -> None:
        self._first_row = self.committed
        self.tokens.extend(emitted)


@dataclass
class RecordedVerification:
    """Stands in for `TargetOutputs` of `runtime/decoding/verify.py`."""

    text: RecordedText
    tokens: list[int]
    """After each node."""

    def token_after(self, node: int) -> int:
        return self.tokens[node]

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        return self.text.successors(nodes)

    def row_arrays(self, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        ids, logits = self.text.successors(nodes)
        return np.array(ids, np.int64), np.array(logits, np.float32)
