"""Acceptance priors of the retrieval cells, counted on the tuning half by replay.

A text must not be judged with a recycling matrix that was made from it: recordings are split in two, each half is replayed from the
matrix of the other, and the counts are added.
"""

from __future__ import annotations

from collections.abc import Sequence

from casspec.runtime.decoding.acceptance import CellCounter, CountingTable, retrieval_prior_means
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc.ablation import RETRIEVAL_TABLE
from casspec.storage.schema import AcceptanceCell
from casspec.tuner.recordings.recording import Recording, recycling_matrix
from casspec.tuner.replay.simulate import replay


def retrieval_cells(
    recordings: Sequence[Recording], vocab_size: int, target_plan: Plan, forward_ms: ForwardMs
) -> tuple[AcceptanceCell, ...]:
    """Trials and accepted by cell over recordings of one decoding mode, () without any."""
    counter = CellCounter()
    halves = recordings[::2], recordings[1::2]
    for judged, other in (halves, halves[::-1]):
        table = CountingTable(RETRIEVAL_TABLE, retrieval_prior_means(), counter)
        policy = DyTC(target_plan, forward_ms, matrix=recycling_matrix(other, vocab_size), table=table)
        replay(policy, judged, vocab_size, lambda n_tokens, context: forward_ms(target_plan, n_tokens, context))
    return counter.cells()
