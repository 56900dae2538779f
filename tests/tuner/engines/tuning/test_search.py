"""The search over n-gram settings."""

from __future__ import annotations

from pathlib import Path

from casspec.tuner.engines.tuning.search import WELL_KNOWN, searched
from tests.tuner.engines.tuning.made_up import CONCURRENCY, plain_figures, session, text
from tests.tuner.engines.tuning.test_prediction import steps

COPIED = [text(list(range(first, first + 12)), list(range(first, first + 12))) for first in (0, 20, 40)]
ODD = [text([1, 2, 3], [7, 8, 9, 10, 11, 12])]
PLAIN = {each: plain_figures(each) for each in CONCURRENCY}


def test_copied_text_asks_for_long_drafts_where_they_are_cheap(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        trials = searched(made, COPIED, PLAIN, steps(step=25.0, token=0.1))
    for concurrency in CONCURRENCY:
        best = next(trial for trial in trials if trial.concurrency == concurrency)
        assert best.setting.parameters["num_speculative_tokens"] >= 8
        assert best.predicted_tokens_per_second is not None
        assert best.predicted_tokens_per_second > 2 * PLAIN[concurrency].tokens_per_second


def test_where_a_token_costs_as_much_as_a_step_short_drafts_are_best(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        first = searched(made, ODD, PLAIN, steps(token=25.0))[0]
    assert first.predicted_tokens_per_second is not None
    assert first.predicted_tokens_per_second <= 1.01 * PLAIN[1].tokens_per_second * 4


def test_a_search_is_the_same_again_and_not_made_twice(tmp_path: Path) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        with session(tmp_path / place) as made:
            found.append(searched(made, COPIED, PLAIN, None))
            assert searched(made, ODD, PLAIN, None) == found[-1]
    assert found[0] == found[1]


def test_the_best_n_grams_are_known_with_every_draft_length_everywhere(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        trials = searched(made, COPIED, PLAIN, None)
        first, last = made.engine.ngram.draft_tokens
    best = trials[0].setting.parameters
    for concurrency in CONCURRENCY:
        lengths = {
            trial.setting.parameters["num_speculative_tokens"]
            for trial in trials
            if trial.concurrency == concurrency
            and trial.setting.parameters["prompt_lookup_min"] == best["prompt_lookup_min"]
            and trial.setting.parameters["prompt_lookup_max"] == best["prompt_lookup_max"]
        }
        assert lengths == set(range(first, last + 1))
    tried = {tuple(trial.setting.parameters.values()) for trial in trials}
    assert tried >= {(shortest, longest, drafted) for shortest, longest, drafted in WELL_KNOWN if longest > 1}
