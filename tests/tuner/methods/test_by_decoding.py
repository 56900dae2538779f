"""The race of a method's settings: who takes part, on which texts."""

from __future__ import annotations

import pytest

from casspec.storage import open_repository
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile, DrafterSpec, Precision, Quantization
from casspec.tuner.methods.by_decoding import Folds, RunTuner, tunable
from casspec.tuner.methods.grids import GRIDS, published_setting
from casspec.tuner.recordings.side_by_side import TextWanted
from casspec.tuner.recordings.stage import stored_recordings
from tests.tuner.method_tunings import METHODS, preferring, run_settings
from tests.tuner.small_calibration import SUITE, small_target
from tests.tuner.stored import DRAFTER, stored_calibration
from tests.tuner.timed import Machine
from tests.tuner.tiny import slow_recorded


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, with_mirror) -> tuple[str, CascadeProfile]:
    """A database with one finished calibration, and its profile; every test tunes with settings of its own."""
    database = str(with_mirror(tmp_path_factory.mktemp("calibrated") / "casspec.db"))
    return database, stored_calibration(database)


def test_what_the_profile_had_set_is_in_the_race_though_no_grid_has_it(calibrated) -> None:
    database, old = calibrated
    known = {"n_tokens": 13, "most_recent": True}
    settings = run_settings(old, "prompt-lookup", seconds=3.0)
    generators = preferring(Machine(), {"prompt-lookup": known})
    with open_repository(database) as repository:
        calibration_id = repository.calibration(old.model, old.device, old.dtype, settings.stored()).calibration_id
        folds = Folds.of(SUITE, small_target(), settings)
        tuner = RunTuner(repository, calibration_id, settings, folds, (), generators, {"prompt-lookup": known})
        (outcome,) = tuner.run(lambda *_: None)
    assert outcome.parameters == published_setting("prompt-lookup") | known
    assert outcome.n_settings == settings.tune.settings_per_method


def test_a_calibrated_setting_stays_when_it_is_the_published_one(calibrated) -> None:
    database, old = calibrated
    published = published_setting("prompt-lookup")
    settings = run_settings(old, "prompt-lookup", seconds=2.5)
    with open_repository(database) as repository:
        calibration_id = repository.calibration(old.model, old.device, old.dtype, settings.stored()).calibration_id
        tuner = RunTuner(
            repository,
            calibration_id,
            settings,
            Folds.of(SUITE, small_target(), settings),
            (),
            preferring(Machine(), {"prompt-lookup": {}}),
            {"prompt-lookup": dict(published)},
        )
        first, *others = tuner._racers("prompt-lookup")
    assert first.parameters == published
    assert first.stays
    assert not any(racer.stays for racer in others)


def test_a_setting_with_a_plan_the_method_is_not_itself_with_is_not_in_the_race(calibrated) -> None:
    database, old = calibrated
    whole = DrafterSpec(name="int4", kind="self", quantization=Quantization(precision=Precision.INT4_WEIGHT))
    settings = run_settings(old, "layer-sparse", seconds=2.25)
    with open_repository(database) as repository:
        folds = Folds.of(SUITE, small_target(), settings)
        for known, taken in ((whole.name, False), (DRAFTER.name, True)):
            stored = {"layer-sparse": {"drafter": known, "n_tokens": 17}}
            generators = preferring(Machine(), {"layer-sparse": {}})
            racers = RunTuner(repository, "", settings, folds, (whole, DRAFTER), generators, stored)._racers(
                "layer-sparse"
            )
            assert any(racer.stays for racer in racers) is taken
            assert whole.name not in {racer.parameters["drafter"] for racer in racers}


def test_rounds_take_the_tasks_in_turn_and_never_the_noise_of_the_recordings(calibrated) -> None:
    database, old = calibrated
    folds = Folds.of(SUITE, small_target(), run_settings(old, *METHODS))
    rounds = [folds.round_at(index) for index in range(2 * len(folds.prompts))]
    tasks = {prompt.id: prompt.task for prompt in folds.prompts}
    assert [tasks[played.requests[0].prompt_id] for played in rounds[:3]] == ["count", "skip", "count"]
    assert [played.fold for played in rounds[:3]] == [0, 0, 1]
    sampled = [asked for played in rounds for asked in played.requests if asked.mode == "sample"]
    with open_repository(database) as repository:
        source, _ = repository.calibration_of(old.content_hash())
        recorded = {recording.seed for recording in stored_recordings(repository, source).values()}
    assert len({asked.seed for asked in sampled}) == len(sampled)
    assert not {asked.seed for asked in sampled} & recorded


def test_later_turns_are_raced_as_they_were_recorded_in_the_fold_of_their_conversation(calibrated) -> None:
    _, old = calibrated
    talks = tuple(one.model_copy(update={"turns": (*one.turns, "w1 w2")}) for one in SUITE.prompts)
    suite = SUITE.model_copy(update={"prompts": talks})
    settings = run_settings(old, *METHODS).changed({"record": {"turns": "all"}})
    target = small_target()
    firsts = Folds.of(suite, target, settings).prompts
    spoken = firsts[0].id
    later = {
        (f"{spoken}#1", mode): slow_recorded(target, TextWanted(f"{spoken}#1", "count", (place, 5), mode), 4, 0.7, 0)
        for place, mode in enumerate(settings.record.modes)
    }
    folds = Folds.of(suite, target, settings, later)
    assert [prompt.id for prompt in folds.prompts] == [spoken, f"{spoken}#1", *(one.id for one in firsts[1:])]
    assert folds.fold_of[f"{spoken}#1"] == folds.fold_of[spoken]
    asked = {each.mode: each.prompt for each in folds.round_at(1).requests}
    assert asked == {"sample": (0, 5), "greedy": (1, 5)}
    only_sampled = {key: one for key, one in later.items() if key[1] == "sample"}
    assert Folds.of(suite, target, settings, only_sampled).prompts == firsts


def test_only_methods_with_a_grid_can_be_tuned() -> None:
    assert tunable(None) == tuple(GRIDS)
    assert tunable(["dytc", "dytc", "prompt-lookup"]) == ("dytc", "prompt-lookup")
    with pytest.raises(UnsupportedOption, match="'autoregressive' has nothing to tune"):
        tunable(["autoregressive"])
