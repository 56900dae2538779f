"""The first half of a page: what was decided for which model and device, the cascade, and how true its promise is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casspec.storage.schema import CASCADE, OVERALL, CascadeProfile, DrafterSpec
from casspec.tuner.bench.predicted_vs_measured import Compared, compare
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.charts import gap_figure
from casspec.tuner.report_page.parts import NONE, Drawing, Highlight, Part, Section, Table, Text
from casspec.tuner.report_page.svg import inline_svg

DECISIONS = {
    "cascade": "Self-drafters join retrieval. Each one in the cascade made dytc, replayed on recordings of the tuning half at "
    "predicted latencies, faster than it is without it.",
    "retrieval-only": "Retrieval alone. No self-drafter found makes dytc, replayed on recordings of the tuning half at "
    "predicted latencies, clearly faster than retrieval is by itself.",
    "off": "Off. Replayed on recordings of the tuning half at predicted latencies, no drafter pays for its own time and the "
    "longer verification on this device.",
}


def highlights(calibrated: CalibrationHistory) -> list[Highlight]:
    """Overall speedups and the error of the latency model."""
    profile = calibrated.profile
    overall = [row for row in compared(calibrated) if row.task == OVERALL]
    shown = [
        Highlight(
            f"dytc, {row.mode}",
            f"{row.measured if row.measured is not None else row.predicted:.2f}×",
            _beside(row) if row.measured is not None else "predicted, not measured",
        )
        for row in overall
    ]
    error = profile.latency.cv_median_error
    shown.append(
        Highlight("latency model", f"{error:.1%}", f"median error; test-retest {profile.latency.test_retest:.1%}")
    )
    shown.append(Highlight("extra memory", _mebibytes(profile.extra_bytes), "of quantised weights"))
    return shown


def _beside(row: Compared) -> str:
    """What stands beside a measured speedup."""
    return f"measured; predicted {_times(row.predicted)}" + (
        f", of these prompts {_times(row.replayed)}" if row.replayed is not None else ""
    )


def compared(calibrated: CalibrationHistory) -> list[Compared]:
    return compare(calibrated.profile, calibrated.reports)


def decision_section(calibrated: CalibrationHistory) -> Section:
    profile = calibrated.profile
    parts: list[Part] = [Text(DECISIONS[profile.decision])]
    parts += [
        Text(
            f"In mode {mode}, {profile.fastest(mode)} decodes unless another method is named: it is predicted to be fastest."
        )
        for mode in sorted(profile.predicted_speedup)
        if profile.fastest(mode) != CASCADE
    ]
    parts += [
        Text(f"{precision} is not offered to drafters: {verdict['reason']}.")
        for precision, verdict in calibrated.verdicts.items()
        if verdict.get("reason")
    ]
    model, device = profile.model, profile.device
    facts = {
        "profile": profile.profile_id,
        "calibrated": f"{profile.created_at[:16].replace('T', ' ')} UTC by casspec {profile.casspec_version}",
        "model": f"{model.name}: {model.family}, {model.n_layers} layers, {model.parameters / 1e6:,.1f} million parameters, "
        f"{model.max_context:,} tokens of context",
        "weights": f"{model.weights_sha256[:16]}… sampled, configuration {model.config_sha256[:16]}…",
        "precision": profile.dtype,
        "device": f"{device.name} ({device.kind}: {device.capability})",
        "threads": str(device.threads or NONE),
        "torch": device.torch_version,
        "suite": f"{profile.suite}, seed {profile.seed}",
    }
    parts.append(Table("The profile belongs to this model on this device", ("what", "value"), list(facts.items())))
    return Section("decision", "Decision", parts)


def cascade_section(calibrated: CalibrationHistory) -> Section:
    profile = calibrated.profile
    header = ("drafter", "role", "precision", "attention left out", "MLP left out", "acceptance", "step cost", "memory")
    rows = [_drafter(calibrated, drafter) for drafter in profile.drafters]
    parts: list[Part] = [
        Table("Drafters in the order they joined; acceptance is offline, cost in steps of the target", header, rows, 3)
    ]
    if depths := _depths(calibrated):
        parts.append(depths)
    if tasks := _tasks(profile):
        parts.append(tasks)
    settings = [(entry.method, entry.variant, _words(entry.parameters)) for entry in profile.methods]
    if settings:
        parts.append(Table("Parameters of the methods", ("method", "variant", "parameters"), settings))
    return Section("cascade", "Cascade", parts)


def speedup_section(calibrated: CalibrationHistory) -> Section | None:
    rows = compared(calibrated)
    if not rows:
        return None
    parts: list[Part] = []
    same = any(row.replayed is not None for row in rows)
    noise = {row.mode: row.noise for row in rows if row.measured is not None}
    if noise:
        parts.append(
            Text(
                "Predictions come from replay on the tuning half, measurements from real decodes of the reporting half. "
                + (
                    "Replayed is what replay says of the very prompts that were measured: the gap is between these two. "
                    if same
                    else "So the gap holds the prompts' difference too. "
                )
                + "A gap above zero promised too much. Noise of the benchmark, autoregressive against itself: "
                + ", ".join(f"{share:.1%} {mode}" for mode, share in noise.items())
                + "."
            )
        )
    else:
        parts.append(
            Text("No benchmark of this profile is stored: `casspec bench` measures what is only predicted here.")
        )
    header = ("mode", "task", "predicted", "other prompts", "measured", *(("replayed",) if same else ()), "gap")
    cells = [
        (
            row.mode,
            row.task,
            _times(row.predicted),
            f"{row.interval[0]:.2f}–{row.interval[1]:.2f}" if row.interval else NONE,
            _times(row.measured),
            *((_times(row.replayed),) if same else ()),
            NONE if row.gap is None else f"{row.gap:+.1%}",
        )
        for row in rows
    ]
    alt = "Speedup of dytc, predicted and measured. " + " ".join(
        f"{row.mode}, {row.task}: predicted {_times(row.predicted)}, measured {_times(row.measured)}." for row in rows
    )
    parts.append(
        Drawing(inline_svg(gap_figure(rows), "gap", alt), "Predicted and measured speedup of dytc by mode and task")
    )
    parts.append(Table("Speedup of dytc over autoregressive decoding", header, cells, figures=len(header) - 2))
    if any(row.interval for row in rows):
        parts.append(
            Text(
                "Predicted on prompts that nothing is measured on. Under other prompts: where a prediction from others of the "
                "same kind would lie, nine times out of ten. casspec replay --verify predicts and measures more of the same prompts."
            )
        )
    if batches := _batches(calibrated.profile):
        parts.append(batches)
    return Section("speedup", "Predicted and measured speedup", parts)


def _batches(profile: CascadeProfile) -> Table | None:
    """What is predicted for sequences decoded side by side."""
    rows = [
        (
            str(one.batch),
            one.decision,
            ", ".join(f"{mode} {_times(speedup)}" for mode, speedup in one.speedup.items()),
            one.latencies,
            ", ".join(f"{mode} {value:,.0f}" for mode, value in one.tokens_per_s.items()),
        )
        for one in profile.predicted_by_batch
    ]
    header = ("batch", "fastest", "speedup over plain decoding of the batch", "latencies", "tokens/s")
    return Table("Predicted by batch", header, rows) if rows else None


def _depths(calibrated: CalibrationHistory) -> Table | None:
    """What the search measured of the cascade's self-drafters by depth, each figure with its number of trials.

    Figures without that number are left out: nobody can tell what they are worth.
    """
    measured = []
    for drafter in calibrated.profile.drafters:
        found = _found(calibrated, drafter) if drafter.kind == "self" else {}
        if found.get("trials_by_depth"):
            pairs = zip(found["acceptance_by_depth"], found["trials_by_depth"], strict=True)
            measured.append((drafter.name, [f"{share:.2f} (n {trials})" for share, trials in pairs]))
    if not measured:
        return None
    deepest = max(len(cells) for _, cells in measured)
    header = ("drafter", *map(str, range(1, deepest + 1)))
    rows = [(name, *cells, *[NONE] * (deepest - len(cells))) for name, cells in measured]
    caption = "Offline acceptance by depth of the draft, given all before it, from n tokens scored so deep"
    return Table(caption, header, rows, deepest)


def _tasks(profile: CascadeProfile) -> Table | None:
    """Tasks that were asked for a cascade of their own."""
    rows = []
    for task in dict.fromkeys([*profile.by_task, *profile.task_gains]):
        own, gain = profile.by_task.get(task), profile.task_gains.get(task)
        names = "the one for all" if own is None else ", ".join(own.drafters) or own.decision
        rows.append(
            (task, names, NONE if own is None else _words(own.parameters), NONE if gain is None else f"{gain:.2f}×")
        )
    header = ("task", "cascade", "parameters", "gain of its own")
    return (
        Table("Cascades by task; the gain is on recordings held out of the choice", header, rows, 1) if rows else None
    )


def _drafter(calibrated: CalibrationHistory, drafter: DrafterSpec) -> tuple[str, ...]:
    if drafter.kind != "self":
        return (drafter.name, "retrieval", *[NONE] * 6)
    found = _found(calibrated, drafter)
    acceptance = drafter.parameters.get("acceptance", found.get("acceptance"))
    n_layers = calibrated.profile.model.n_layers
    return (
        drafter.name,
        _role(calibrated.profile, drafter),
        "the target's" if drafter.quantization.precision == "target" else str(drafter.quantization.precision),
        _layers(drafter.skip.attention, n_layers),
        _layers(drafter.skip.mlp, n_layers),
        NONE if acceptance is None else f"{acceptance:.3f}",
        f"{found['cost']:.2f}" if found else NONE,
        _mebibytes(drafter.quantization.extra_bytes),
    )


def _role(profile: CascadeProfile, drafter: DrafterSpec) -> str:
    """What a plan is kept for."""
    if drafter.parameters.get("cascade", True):
        return "in the cascade"
    tasks = [task for task, own in profile.by_task.items() if drafter.name in own.drafters]
    return f"in the cascade of {', '.join(tasks)}" if tasks else "for other methods"


def _found(calibrated: CalibrationHistory, drafter: DrafterSpec) -> dict[str, Any]:
    """What the search said of the plan, {} where it is not stored."""
    for candidate in calibrated.candidates:
        same_precision = candidate.quantization.precision == drafter.quantization.precision
        if same_precision and candidate.skip == drafter.skip:
            return candidate.model_dump()
    return {}


def _layers(skipped: Sequence[int], n_layers: int) -> str:
    return f"{len(skipped)} of {n_layers}: {', '.join(map(str, skipped))}" if skipped else "none"


def _words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parameters.items()) or NONE


def _times(speedup: float | None) -> str:
    return NONE if speedup is None else f"{speedup:.2f}×"


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.1f} MiB" if n_bytes else "none"
