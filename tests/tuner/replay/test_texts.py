"""What a calibration is replayed on: stored recordings where there are any, and the model where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import SuiteError, UnsupportedOption
from casspec.storage.repository import Repository
from casspec.storage.schema import BenchText, CascadeProfile
from casspec.tuner.bench.lossless.text_check import text_sha256
from casspec.tuner.replay import texts as replay_texts
from casspec.tuner.replay.texts import ReplayTexts, _as_far_as
from tests.storage import samples
from tests.tuner.small_calibration import SETTINGS, SUITE, small_target
from tests.tuner.stored import stored_calibration

MODES = ("sample", "greedy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, CascadeProfile]:
    database = str(tmp_path_factory.mktemp("replay") / "casspec.db")
    return database, stored_calibration(database)


@pytest.fixture
def repository(finished: tuple[str, CascadeProfile], monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setattr(replay_texts, "load_suite", lambda name: SUITE)
    with open_repository(finished[0]) as opened:
        yield opened


@pytest.fixture
def profile(finished: tuple[str, CascadeProfile]) -> CascadeProfile:
    return finished[1]


def no_model() -> NoReturn:
    raise AssertionError("the model was asked for")


def untold(done: int, total: int | None = None, note: str = "") -> None: ...


def test_the_tuning_half_is_what_the_calibration_recorded(repository: Repository, profile: CascadeProfile) -> None:
    texts = ReplayTexts(repository, profile, no_model, "tuning")
    assert texts.settings == SETTINGS
    recordings = texts.recordings(MODES, None, untold)
    assert len(recordings) == SETTINGS.record.prompts * len(MODES)
    assert [one.task for one in recordings[:4]] == ["count", "skip"] * 2, "tasks take turns"
    (prompt_id,) = {one.prompt_id for one in texts.recordings(MODES, 1, untold)}
    assert prompt_id == recordings[0].prompt_id
    assert {one.mode for one in texts.recordings(("greedy",), None, untold)} == {"greedy"}
    assert texts.benchmark(MODES) is None, "benchmarks are of the other half"


def test_the_reporting_half_is_recorded_with_the_model_once(repository: Repository, profile: CascadeProfile) -> None:
    loads: list[str] = []

    def load() -> TargetModel:
        loads.append("model")
        return small_target()

    made = ReplayTexts(repository, profile, load, "reporting").recordings(MODES, 2, untold)
    assert loads
    assert {one.prompt_id for one in made} < {prompt.id for prompt in SUITE.half("reporting")}
    assert {one.task for one in made} == {"count", "skip"}
    assert {len(one.continuation_tokens) for one in made} == {SETTINGS.record.tokens}
    again = ReplayTexts(repository, profile, no_model, "reporting").recordings(MODES, 2, untold)
    assert [one.to_bytes() for one in again] == [one.to_bytes() for one in made]


def test_prompts_and_lengths_are_those_of_the_newest_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_texts, "load_suite", lambda name: SUITE)
    database = str(tmp_path / "casspec.db")
    profile = stored_calibration(database)
    (prompt, *_) = SUITE.half("reporting")
    told = {"suite_sha256": SETTINGS.suite_sha256, "seed": SETTINGS.seed, "temperature": SETTINGS.record.temperature}
    told |= {"warm": False, "interrupted": False, "prompts_left_out": [], "max_new_tokens": 5}
    with open_repository(database) as repository:
        texts = ReplayTexts(repository, profile, small_target, "reporting")
        assert texts.benchmark(MODES) is None
        text = BenchText(
            method="dytc",
            variant="tuned",
            mode="greedy",
            task=prompt.task,
            prompt_id=prompt.id,
            text_sha256="f" * 64,
            n_tokens=5,
            verify_steps=2,
            decode_ms=1.0,
        )
        report = samples.bench_report(texts=(text,), environment=told)
        repository.save_bench(profile.content_hash(), report)
        assert texts.benchmark(("greedy",)) == report
        assert texts.benchmark(("sample",)) is None
        (recording,) = texts.recordings(("greedy",), None, untold)
    assert recording.prompt_id == prompt.id
    assert len(recording.continuation_tokens) == 5


def test_as_many_turns_are_replayed_as_the_calibration_asks_for_and_a_benchmark_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = tuple(one.model_copy(update={"turns": (*one.turns, "w1 w2", "w3")}) for one in SUITE.prompts)
    suite = SUITE.model_copy(update={"prompts": talks})
    (talk, *_) = suite.half("reporting")
    assert [(one.id, len(one.turns)) for one in _as_far_as(talks, {talk.id, f"{talk.id}#1"})] == [(talk.id, 2)]
    monkeypatch.setattr(replay_texts, "load_suite", lambda name: suite)
    database = str(tmp_path / "casspec.db")
    changes = {"suite_sha256": suite.content_hash()}
    settings = SETTINGS.model_copy(update=changes).changed({"record": {"turns": "all"}})
    profile = stored_calibration(database)
    with open_repository(database) as repository:
        texts = ReplayTexts(repository, profile, small_target, "reporting")
        texts.settings = settings
        found = texts.recordings(("greedy",), 2, untold)
        (report,) = [texts.decoded(LoadedProfile(profile, None), ["prompt-lookup"], ("greedy",), found, (), untold)]
        texts.settings = settings.changed({"record": {"turns": "first"}})
        first = texts.recordings(("greedy",), 2, untold)
    assert [one.prompt_id for one in found] == [turn for one in first for turn in _turns(one.prompt_id)]
    assert {text.prompt_id for text in report.texts} == {one.prompt_id for one in found}
    by_id = {text.prompt_id: text.text_sha256 for text in report.texts}
    assert all(by_id[one.prompt_id] == text_sha256(one.continuation_tokens) for one in found), "float32: the same texts"


def _turns(prompt_id: str) -> list[str]:
    return [prompt_id, f"{prompt_id}#1", f"{prompt_id}#2"]


def test_a_suite_that_has_changed_and_a_half_without_recordings_are_refused(
    repository: Repository, profile: CascadeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedOption, match="of the tuning half nothing is recorded in mode greedy"):
        ReplayTexts(repository, profile, no_model, "tuning").recordings(("greedy",), 0, untold)
    changed = SUITE.model_copy(update={"prompts": SUITE.prompts[1:]})
    monkeypatch.setattr(replay_texts, "load_suite", lambda name: changed)
    with pytest.raises(SuiteError, match="'small' has changed since"):
        ReplayTexts(repository, profile, no_model, "reporting").recordings(MODES, 1, untold)
