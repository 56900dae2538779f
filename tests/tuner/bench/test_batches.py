"""Methods race at batch sizes beside plain decoding, in pairs."""

from __future__ import annotations

from casspec.tuner.bench.batches import PEER, PLAIN, race_batches
from casspec.tuner.suites.token_prompts import token_prompts
from tests.tuner.text_generators import letters_target, prompts

TARGET = letters_target()
PROMPTS = token_prompts(TARGET, prompts())


def test_every_method_has_a_row_a_size_and_plain_decoding_is_one_of_them() -> None:
    told: list[str] = []
    rows = race_batches(TARGET, None, ["prompt-lookup"], PROMPTS, [1, 3], 12, 0.7, rounds=2, seed=1, tell=told.append)
    assert [(row.batch, row.method) for row in rows] == [
        (batch, method) for batch in (1, 3) for method in (PLAIN, "prompt-lookup")
    ]
    assert len(told) == 4
    for row in rows:
        assert row.least <= row.over_plain <= row.most
        assert row.tokens_per_s > 0
        assert row.token_ms > 0
    assert rows[0].over_plain == rows[0].over_one == 1


def test_transformers_is_a_peer_where_texts_are_greedy() -> None:
    rows = race_batches(TARGET, None, [], PROMPTS, [2], 8, 0.0, rounds=1, seed=1, peers=True)
    assert [row.method for row in rows] == [PLAIN, PEER]
    rows = race_batches(TARGET, None, [], PROMPTS, [2], 8, 0.7, rounds=1, seed=1, peers=True)
    assert [row.method for row in rows] == [PLAIN]


def test_a_batch_larger_than_the_suite_repeats_it() -> None:
    (row,) = race_batches(TARGET, None, [], PROMPTS[:2], [5], 6, 0.0, rounds=1, seed=1)
    assert row.batch == 5
