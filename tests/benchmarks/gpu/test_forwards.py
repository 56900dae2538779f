"""The ways that forwards can run."""

from __future__ import annotations

from benchmarks.gpu.forwards import available, graphs_refusal, with_graphs
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel


def test_a_processor_has_no_graphs_and_says_so(target: TargetModel) -> None:
    assert graphs_refusal(target)
    assert available(target) == ["eager"]


def test_the_switch_changes_no_text(target: TargetModel) -> None:
    texts = []
    for on in (False, True):
        with with_graphs(target, on):
            texts.append(Decoder(target).generate([1, 2, 3], 12).token_ids)
    assert texts[0] == texts[1]
