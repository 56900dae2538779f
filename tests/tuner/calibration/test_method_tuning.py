"""Methods tuned by real decodes: what becomes of the profile, and that an interruption loses no method."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.storage import open_repository
from casspec.storage.schema import CascadeProfile
from casspec.tuner.bench.entries import TextGenerator
from casspec.tuner.calibration.method_tuning import tune_by_decoding
from casspec.tuner.methods import by_decoding as run_tuning
from casspec.tuner.methods.by_decoding import Folds, RunTuned
from casspec.tuner.methods.grids import GRIDS, axes_of, published_setting
from casspec.tuner.recordings.recording import recycling_matrix
from casspec.tuner.recordings.stage import stored_recordings
from casspec.tuner.settings import RunTuningSettings
from tests.tuner.method_tunings import METHODS, preferring, run_settings
from tests.tuner.small_calibration import SUITE, StageLog, begun, small_target
from tests.tuner.stored import DRAFTER, stored_calibration
from tests.tuner.timed import Machine


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, with_mirror) -> tuple[str, CascadeProfile]:
    """A database with one finished calibration, and its profile; every test tunes with settings of its own."""
    database = str(with_mirror(tmp_path_factory.mktemp("calibrated") / "casspec.db"))
    return database, stored_calibration(database)


def tune(
    database: str, old: CascadeProfile, settings: RunTuningSettings, generators: run_tuning.Generators | None
) -> tuple[CascadeProfile, list[RunTuned]]:
    with open_repository(database) as repository:
        context = begun(repository, database, settings)
        return tune_by_decoding(context, settings, old, StageLog(), generators)


def test_a_new_profile_has_what_was_found_beside_all_the_old_one_had(calibrated) -> None:
    database, old = calibrated
    favourites = {"prompt-lookup": {"most_recent": True}, "layer-sparse": {"drafter": DRAFTER.name}}
    settings = run_settings(old, *METHODS, "token-recycling")
    new, outcomes = tune(database, old, settings, preferring(Machine(), favourites))

    assert new.profile_id != old.profile_id
    assert new.settings("prompt-lookup")["most_recent"] is True
    assert new.settings("layer-sparse")["drafter"] == DRAFTER.name
    assert set(new.settings("layer-sparse")) == set(GRIDS["layer-sparse"])
    assert Counter(entry.method for entry in new.methods) == dict.fromkeys(("dytc", *METHODS), 1)
    assert new.settings("dytc") == old.settings("dytc")
    circumstances = {"methods", "created_at", "casspec_version"}
    assert new.model_dump(exclude=circumstances) == old.model_dump(exclude=circumstances)

    lookup, sparse, recycling = outcomes
    assert lookup.speedup == pytest.approx({"sample": 1.1, "greedy": 1.1})
    assert lookup.published_speedup == pytest.approx({"sample": 1.0, "greedy": 1.0})
    assert lookup.changes["most_recent"] is True
    assert sparse.n_settings == settings.tune.settings_per_method
    assert recycling.skipped == "no kernel here"

    with open_repository(database) as repository:
        source, _ = repository.calibration_of(old.content_hash())
        calibration_id, stored = repository.calibration_of(new.content_hash())
        assert calibration_id != source
        assert RunTuningSettings.model_validate(stored) == settings
        assert stored_recordings(repository, calibration_id).keys() == stored_recordings(repository, source).keys()


def test_an_interrupted_tuning_goes_on_with_the_method_it_was_at(calibrated) -> None:
    database, old = calibrated
    favourites: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    settings = run_settings(old, *METHODS)
    before, after = Machine(), Machine()

    def interrupted(method: str, parameters: dict[str, Any]) -> list[TextGenerator]:
        if method == "layer-sparse":
            raise KeyboardInterrupt
        return list(preferring(before, favourites)(method, parameters))

    with pytest.raises(KeyboardInterrupt):
        tune(database, old, settings, interrupted)
    assert {name for name, _, _ in before.calls} == {"autoregressive", "prompt-lookup"}
    new, _ = tune(database, old, settings, preferring(after, favourites))
    assert {name for name, _, _ in after.calls} == {"autoregressive", "layer-sparse"}
    again = Machine()
    assert tune(database, old, settings, preferring(again, favourites))[0] == new
    assert not again.calls


def test_methods_are_tuned_on_what_the_same_seconds_allow(calibrated) -> None:
    database, old = calibrated
    favourites: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    settings = run_settings(old, *METHODS, seconds=20.0)
    _, outcomes = tune(database, old, settings, preferring(Machine(), favourites))
    for outcome in outcomes:
        assert 20.0 <= outcome.decode_seconds < 21.0
        assert outcome.n_settings == 16
        # Nothing is faster, so what the profile had stays.
        assert outcome.parameters == published_setting(outcome.method) | old.settings(outcome.method)


def test_real_decoders_start_from_a_matrix_that_has_not_seen_their_prompts(calibrated, monkeypatch) -> None:
    database, old = calibrated
    target, settings = small_target(), run_settings(old, *METHODS, seconds=0.3)
    made: list[LoadedProfile] = []

    class Watched(Decoder):
        def __init__(self, target, profile, method, parameters) -> None:
            super().__init__(target, profile, method, parameters)
            made.append(profile)

    monkeypatch.setattr(run_tuning, "Decoder", Watched)
    new, outcomes = tune(database, old, settings, None)
    for outcome in outcomes:
        axes = axes_of(outcome.method, [DRAFTER])
        published, stored = published_setting(outcome.method), old.settings(outcome.method)
        for axis, value in new.settings(outcome.method).items():
            assert value in (*axes.get(axis, ()), published[axis], stored.get(axis))
        assert set(outcome.speedup) == {"sample", "greedy"}

    folds = Folds.of(SUITE, target, settings)
    assert set(folds.fold_of.values()) == {0, 1}
    with open_repository(database) as repository:
        calibration_id, _ = repository.calibration_of(new.content_hash())
        recordings = stored_recordings(repository, calibration_id).values()
    for place, profile in enumerate(made[: run_tuning.N_FOLDS]):
        others = [recording for recording in recordings if folds.fold_of[recording.prompt_id] != place]
        assert 0 < len(others) < len(recordings)
        assert profile.recycling_matrix == recycling_matrix(others, target.vocab_size).to_bytes()
