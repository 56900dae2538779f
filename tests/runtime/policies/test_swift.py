"""SWIFT: its search goes on while it decodes, and what its trees look like."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.storage.errors import UnsupportedOption
from tests.runtime.tiny import repetitive_prompt, tiny_target


def test_a_search_improves_what_is_drafted_and_goes_on_where_it_is_kept() -> None:
    target = tiny_target(seed=7, num_hidden_layers=6)
    decoder = Decoder(target, None, "swift", {"window": 8, "stop_score": 2.0}).with_memory()
    decoder.generate(repetitive_prompt(20), 40)
    search = decoder._policy("greedy")._search
    n_trials, start_score = len(search._scores), search._scores[0]
    decoder.generate(repetitive_prompt(20, 1), 100)
    assert decoder._policy("greedy")._search is search
    assert len(search._scores) > n_trials > 1
    assert search.best_score > start_score


def test_a_tree_stays_within_what_a_step_verifies() -> None:
    target = tiny_target(seed=7)
    parameters = {"threshold": 0.0, "n_tokens": 100, "search": False}
    prompt = repetitive_prompt(20)
    generation = Decoder(target, None, "swift", parameters).generate(prompt, 120)
    assert generation.token_ids == Decoder(target, method="autoregressive").generate(prompt, 120).token_ids
    assert generation.statistics.drafted_tokens <= 127 * generation.statistics.verify_steps


@pytest.mark.parametrize("window", [0, 129])
def test_a_window_that_cannot_be_scored_is_refused(window: int) -> None:
    with pytest.raises(UnsupportedOption, match=f"window={window}"):
        Decoder(tiny_target(), None, "swift", {"window": window})
