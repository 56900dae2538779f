"""A whole profile of a tiny model: measured, stored, resumed, drawn, and shown by the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import casspec
from casspec.cli.main import main
from casspec.profiler import measure, profile, stored
from casspec.profiler.design import Design, design
from casspec.profiler.figures import error_figure, fit_figure, roofline_figure
from casspec.profiler.probes import Probes
from casspec.profiler.profile import RETEST_POINTS, Scope, fitted_samples, profile_latency, retest_points
from casspec.profiler.refinement import REFINING_POINTS
from casspec.profiler.report import error_table
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.database.connection import open_database
from casspec.storage.repository import Repository
from casspec.storage.schema import DeviceCeilings, DeviceFingerprint, LatencyModel, LatencyPoint, LatencySample
from tests.profiler.fakes import tiny_target

CEILINGS = DeviceCeilings(bandwidth_gb_per_s=20.0, matmul_tflops={"float32": 0.05}, launch_us=2.0)
BUDGET_SECONDS = 0.01


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target()


@pytest.fixture(scope="module")
def device() -> DeviceFingerprint:
    return device_fingerprint("cpu").model_copy(update={"ceilings": CEILINGS})


@dataclass
class Run:
    """What one profile saved."""

    plan: Design
    model: LatencyModel
    samples: list[LatencySample] = field(default_factory=list)
    retests: list[LatencySample] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)


def profile_of(
    target: TargetModel,
    device: DeviceFingerprint,
    known: list[LatencySample] = [],  # noqa: B006
    retested: list[LatencySample] = [],  # noqa: B006
) -> Run:
    samples: list[LatencySample] = []
    retests: list[LatencySample] = []
    progress: list[tuple[int, int]] = []
    model = profile_latency(
        target,
        device,
        known,
        samples.append,
        lambda done, total, note: progress.append((done, total)),
        BUDGET_SECONDS,
        stored_retests=retested,
        save_retest=retests.append,
    )
    return Run(design(target), model, samples, retests, progress)


@pytest.fixture(scope="module")
def run(target: TargetModel, device: DeviceFingerprint) -> Run:
    return profile_of(target, device)


def test_every_point_of_the_design_is_measured_once_and_some_again(run: Run) -> None:
    assert set(run.plan.points) < {sample.point for sample in run.samples}
    assert len({sample.point for sample in run.samples}) == len(run.samples) == len(run.plan.points) + REFINING_POINTS
    assert {sample.point for sample in run.retests} == set(retest_points(run.plan))
    assert len(run.retests) == RETEST_POINTS
    assert all(value > 0 for sample in run.samples for value in sample.measurement.values)


def test_the_model_knows_its_range_and_leaves_held_out_points_out(run: Run, target: TargetModel) -> None:
    assert run.model.n_points == len(run.plan.fitted) + REFINING_POINTS
    assert run.model.fitted_context_tokens == (0, max(point.context_tokens for point in run.plan.fitted))
    assert run.model.test_retest > 0
    assert LatencyPredictor(run.model).forward_ms(target.full_plan, 8, 64) > 0


def test_progress_runs_from_nothing_to_all_points(run: Run) -> None:
    total = len(run.plan.points) + REFINING_POINTS + RETEST_POINTS
    done = [count for count, _ in run.progress]
    assert (done[0], done[-1]) == (0, total)
    assert done == sorted(done)
    assert {seen for _, seen in run.progress} == {total}


def test_a_resumed_profile_measures_only_what_is_missing(
    run: Run, target: TargetModel, device: DeviceFingerprint
) -> None:
    half = len(run.samples) // 2
    resumed = profile_of(target, device, run.samples[:half], run.retests[:5])
    measured, known = [sample.point for sample in resumed.samples], {sample.point for sample in run.samples[:half]}
    assert not known & set(measured)
    assert set(run.plan.points) <= known | set(measured)
    assert len(known) + len(measured) == len(run.samples)
    assert {sample.point for sample in resumed.retests} == {sample.point for sample in run.retests[5:]}
    assert min(sample.order for sample in resumed.samples) == half


def test_a_profile_killed_while_refining_goes_on_with_the_same_points(
    run: Run, target: TargetModel, device: DeviceFingerprint
) -> None:
    resumed = profile_of(target, device, run.samples[:-3], run.retests)
    assert {sample.point for sample in resumed.samples} == {sample.point for sample in run.samples[-3:]}


def test_with_everything_stored_nothing_is_measured_and_the_fit_is_the_same(
    run: Run, target: TargetModel, device: DeviceFingerprint
) -> None:
    again = profile_of(target, device, run.samples[::-1], run.retests)
    assert (again.samples, again.retests) == ([], [])
    assert again.model == run.model


def test_a_device_without_ceilings_is_refused(target: TargetModel) -> None:
    with pytest.raises(ValueError, match="ceilings"):
        profile_latency(target, device_fingerprint("cpu"), [], lambda sample: None)


def test_probes_run_what_the_point_says(target: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, tuple[int, ...], int, int, int]] = []

    def spy(name: str, original: Any) -> Any:
        def run_and_note(inputs: Any, cache: Any, plan: Any) -> Any:
            result = original(inputs, cache, plan)
            assert torch.isfinite(result).all()
            seen.append((name, tuple(inputs.token_ids.shape), inputs.length, plan.n_attention, plan.n_mlp))
            return result

        return run_and_note

    points = [
        LatencyPoint(subject="attention", n_attention=3, n_mlp=0, n_tokens=5, context_tokens=0),
        LatencyPoint(subject="drafter", n_attention=1, n_mlp=2, n_tokens=2, context_tokens=63, batch=2),
    ]
    probes = Probes(target, points)
    for name in ("hidden", "forward"):
        monkeypatch.setattr(target, name, spy(name, getattr(TargetModel, name).__get__(target)))
    for point in points:
        probes.call(point)()
    assert seen[0] == ("hidden", (1, 6), 64, 3, 0)
    assert seen[-1] == ("forward", (2, 2), 128, 1, 2)


def test_the_figure_shows_every_kind_of_point(run: Run, tmp_path: Path) -> None:
    figure = fit_figure(run.samples, run.model)
    figure.savefig(tmp_path / "fit.png")
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"attention", "mlp", "drafter", "forward"}


def test_figures_show_errors_by_group_and_the_ceilings(run: Run, tmp_path: Path) -> None:
    errors = error_figure(run.samples, run.model)
    errors.savefig(tmp_path / "errors.png")
    names = [label.get_text() for label in errors.axes[0].get_yticklabels()]
    assert {name.split()[0].rstrip(":") for name in names} == {"plan", "tokens", "context"}
    roofline = roofline_figure(run.samples, run.model)
    roofline.savefig(tmp_path / "roofline.png")
    ceiling = next(line for line in roofline.axes[0].get_lines() if line.get_label() == "ceilings")
    assert max(ceiling.get_ydata()) == pytest.approx(1e3 * CEILINGS.matmul_tflops["float32"])


def test_the_figure_of_errors_says_what_the_table_says(run: Run) -> None:
    figure = error_figure(fitted_samples(run.samples, run.plan), run.model, seed=3)
    bars = [bar.get_width() / 100 for bar in figure.axes[0].patches]
    rows = error_table(run.samples, run.model, run.plan, seed=3)
    assert bars == pytest.approx([row.median_error for row in rows if row.group.split()[0] != "all,"][: len(bars)])
    assert len(bars) == len(rows) - 2


def test_batches_are_measured_predicted_and_told_apart(target: TargetModel, device: DeviceFingerprint) -> None:
    samples: list[LatencySample] = []
    scope = Scope(batches={2: 256, 4: 100})
    model = profile_latency(target, device, [], samples.append, budget_seconds=BUDGET_SECONDS, scope=scope)
    assert {sample.point.batch for sample in samples} == {1, 2}
    assert {plan.batch for plan in model.measured} == {1, 2}
    predictor = LatencyPredictor(model)
    one = LatencyPoint(subject="forward", n_attention=3, n_mlp=3, n_tokens=3, context_tokens=64)
    found = [predictor.provenance(one.model_copy(update={"batch": batch})) for batch in (1, 2, 8)]
    assert "extrapolated" not in found[:2]
    assert found[2] == "extrapolated"
    assert error_table(samples, model, scope.design(target))


# ------------------------------------------------------------------------------------------------------------- stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Repository]:
    database = open_database(str(tmp_path / "casspec.db"))
    yield Repository(database)
    database.close()


class Killed(BaseException):
    pass


def test_a_killed_profile_resumes_to_exactly_one_row_a_point(
    store: Repository, target: TargetModel, device: DeviceFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.calibration(model_fingerprint(target), device, "float32", {}).calibration_id
    store.save_device(device)
    save, saved = Repository.save_latency_sample, []

    def save_then_die(self: Repository, calibration_id: str, sample: LatencySample) -> LatencySample:
        if len(saved) == 40:
            raise Killed
        saved.append(sample)
        return save(self, calibration_id, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "save_latency_sample", save_then_die)
        with pytest.raises(Killed):
            stored.profile_stored(store, key, target, device, budget_seconds=BUDGET_SECONDS)
    assert len(store.latency_samples(key)) == 40

    model = stored.profile_stored(store, key, target, device, budget_seconds=BUDGET_SECONDS)
    rows = store.latency_samples(key)
    assert rows[:40] == saved
    assert set(design(target).points) < {row.point for row in rows}
    assert len(rows) == len({row.point for row in rows}) == len(design(target).points) + REFINING_POINTS
    assert len(store.documents(key, stored.RETEST_KIND)) == RETEST_POINTS
    assert store.latency_model(key) == model


def test_a_stored_latency_model_answers_without_measuring(
    store: Repository, target: TargetModel, device: DeviceFingerprint, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = store.calibration(model_fingerprint(target), device, "float32", {}).calibration_id
    store.save_latency_model(key, run.model)
    monkeypatch.setattr(stored, "profile_latency", lambda *_, **__: pytest.fail("measured again"))
    assert stored.profile_stored(store, key, target, device) == run.model


def test_ceilings_are_measured_once_for_a_device(
    store: Repository, target: TargetModel, device: DeviceFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(stored, "measure_ceilings", lambda device: measured.append(device) or CEILINGS)
    bare = device.model_copy(update={"ceilings": None})
    found = [stored.with_ceilings(store, bare, target).ceilings for _ in range(2)]
    assert found == [CEILINGS, CEILINGS]
    assert len(measured) == 1


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def arguments(target: TargetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(vars(casspec), "load_target", lambda name, device, dtype: target)
    monkeypatch.setattr(stored, "measure_ceilings", lambda device: CEILINGS)
    monkeypatch.setattr(measure, "MIN_ROUNDS", 1)
    monkeypatch.setattr(measure, "MAX_ROUNDS", 1)
    return ["profile", "tiny", "--threads", "1", "--storage", str(tmp_path / "casspec.db")]


def test_a_dry_run_tells_the_plan_and_stores_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "forward" in printed
    assert "about 22 s" in printed
    assert not (tmp_path / "casspec.db").exists()


def test_the_command_stores_a_profile_and_prints_its_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments) == 0
    first = capsys.readouterr().out
    for told in ("held-out cells, 90th percentile", "plans left out", "measured-table", "slowdown of the machine"):
        assert told in first
    assert "test-retest" in first
    monkeypatch.setattr(stored, "profile_latency", lambda *_, **__: pytest.fail("measured again"))
    assert main(arguments) == 0
    assert capsys.readouterr().out == first


def test_an_interruption_says_how_much_is_stored(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(profile, "repeatability", interrupted)
    assert main(arguments) == 130
    assert f"{len(design(tiny_target()).points) + REFINING_POINTS} points are stored" in capsys.readouterr().err


def test_the_error_table_of_a_real_run_is_finite(run: Run) -> None:
    rows = error_table(run.samples, run.model, run.plan)
    assert all(0 <= row.median_error <= row.p90_error < 100 for row in rows)
