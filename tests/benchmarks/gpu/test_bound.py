"""The bound of the memory, by hand."""

from __future__ import annotations

import pytest

from benchmarks.gpu.bound import bound_ms, weight_bytes

COSTS = {"attention_bytes": 100.0, "mlp_bytes": 300.0, "head_bytes": 50.0, "row_bytes": 2.0}


def test_a_token_reads_all_weights_and_the_rows_of_its_text() -> None:
    assert weight_bytes(COSTS, 3) == 3 * 400 + 50
    assert bound_ms(COSTS, 3, 1e-6, 10) == pytest.approx(1250 + 3 * 2 * 10)


def test_texts_of_a_batch_share_the_weights_and_not_their_rows() -> None:
    assert bound_ms(COSTS, 3, 1e-6, 10, batch=4) == pytest.approx(1250 + 4 * 60)
