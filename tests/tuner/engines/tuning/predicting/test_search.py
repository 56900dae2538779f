"""The search over n-gram settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casspec.storage.engines.documents import EngineLatencyPoint, EngineMeasurement, EngineText
from casspec.tuner.engines.known.llama_cpp import LlamaCpp
from casspec.tuner.engines.known.sglang import Sglang
from casspec.tuner.engines.tuning.predicting.search import WELL_KNOWN, searched
from casspec.tuner.engines.tuning.session import PLAIN_STEP_KIND, Session
from tests.tuner.engines.tuning.made_up import CONCURRENCY, plain_figures, session, text
from tests.tuner.engines.tuning.predicting.test_prediction import steps

COPIED = [text(list(range(first, first + 12)), list(range(first, first + 12))) for first in (0, 20, 40)]
ODD = [text([1, 2, 3], [7, 8, 9, 10, 11, 12])]


def plain(texts: list[EngineText]) -> dict[int, EngineMeasurement]:
    """What the texts took without speculation: 25 ms a step."""
    tokens = sum(len(text.answer) for text in texts)
    return {
        each: plain_figures(each, 40.0 * each).model_copy(
            update={"tokens": tokens, "requests": len(texts), "seconds": tokens / (40.0 * each)}
        )
        for each in CONCURRENCY
    }


@contextmanager
def with_steps(folder: Path) -> Iterator[Session]:
    """A search whose engine takes 25 ms a step without speculation."""
    with session(folder) as made:
        for each in CONCURRENCY:
            point = EngineLatencyPoint(batch=each, draft_tokens=0, values_ms=(25.0,))
            made.store.save(made.subject_hash, PLAIN_STEP_KIND, str(each), point)
        yield made


def test_copied_text_asks_for_long_drafts_where_they_are_cheap(tmp_path: Path) -> None:
    with with_steps(tmp_path) as made:
        trials = searched(made, COPIED, plain(COPIED), steps(step=25.0, token=0.1, drafting=0.0))
    for concurrency in CONCURRENCY:
        best = next(trial for trial in trials if trial.concurrency == concurrency)
        assert best.setting.parameters["num_speculative_tokens"] >= 8
        assert best.predicted_tokens_per_second is not None
        assert best.predicted_tokens_per_second > 2 * plain(COPIED)[concurrency].tokens_per_second


def test_where_nothing_repeats_nothing_is_promised(tmp_path: Path) -> None:
    with with_steps(tmp_path) as made:
        first = searched(made, ODD, plain(ODD), None)[0]
    assert first.predicted_tokens_per_second == pytest.approx(plain(ODD)[1].tokens_per_second)
    assert first.acceptance_length == 1.0


def test_a_search_is_the_same_again_and_not_made_twice(tmp_path: Path) -> None:
    found = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        with with_steps(tmp_path / place) as made:
            found.append(searched(made, COPIED, plain(COPIED), None))
            assert searched(made, ODD, plain(ODD), None) == found[-1]
    assert found[0] == found[1]


def test_the_best_n_grams_are_known_with_every_draft_length_everywhere(tmp_path: Path) -> None:
    with with_steps(tmp_path) as made:
        trials = searched(made, COPIED, plain(COPIED), None)
        assert made.engine.ngram is not None
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
    names = ("prompt_lookup_min", "prompt_lookup_max", "num_speculative_tokens")
    tried = {tuple(trial.setting.parameters[name] for name in names) for trial in trials}
    assert tried >= {(shortest, longest, drafted) for shortest, longest, drafted in WELL_KNOWN if longest > 1}


def test_lookup_of_one_length_is_searched_by_its_length(tmp_path: Path, llama_server: Path) -> None:
    with session(tmp_path, engine=LlamaCpp(), program=llama_server) as made:
        trials = searched(made, COPIED, plain(COPIED), steps(step=25.0, token=0.1))
        space = made.engine.ngram
    assert space is not None
    lengths = {trial.setting.parameters["spec-ngram-simple-size-n"] for trial in trials}
    assert lengths <= set(range(space.longest[0], space.longest[1] + 1))
    best = trials[0].setting.parameters
    assert best["spec-ngram-simple-size-m"] >= best["spec-ngram-simple-size-n"]
    assert trials[0].acceptance_length is not None
    assert trials[0].acceptance_length > 1.5


def test_where_nobody_knows_what_is_drafted_nothing_is_predicted(tmp_path: Path, llama_server: Path) -> None:
    with session(tmp_path, engine=Sglang()) as made:
        assert searched(made, COPIED, plain(COPIED), None) == []
