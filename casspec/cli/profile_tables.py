"""Tables of `casspec profiles`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from casspec.storage.schema import CASCADE, BenchReport, CascadeProfile, DrafterSpec


def profile_list(rows: Sequence[dict[str, Any]]) -> Table:
    """One line a profile. `rows`: summaries as `casspec profiles list --format json` prints them."""
    table = _table("ID", "model and device", "decision", "predicted", "measured", wrapped={"model and device"})
    for row in rows:
        table.add_row(
            "\n".join([row["id"], row["created_at"][:10], *row["aliases"]]),
            f"{row['model']}, {row['dtype']}\n{row['device']}",
            row["decision"],
            _speedups(row["predicted_speedup"], "\n"),
            _speedups(row["measured_speedup"], "\n"),
        )
    return table


def side_by_side(rows: Sequence[dict[str, Any]]) -> Table:
    """One column a profile."""
    ids = [row["id"] for row in rows]
    table = _table("", *ids, wrapped=ids)
    for name in rows[0]:
        if name != "id":
            label = "extra memory" if name == "extra_bytes" else name.replace("_", " ")
            table.add_row(label, *(_cell(name, row[name]) for row in rows))
    return table


def profile_details(profile: CascadeProfile, reports: Sequence[BenchReport]) -> Iterator[RenderableType]:
    """Everything about a profile, part by part, and the newest benchmark of each decoding mode."""
    latency = profile.latency
    facts = {
        "profile": profile.profile_id,
        "created": f"{profile.created_at} by casspec {profile.casspec_version}",
        "model": f"{profile.model.name} ({profile.model.family}, {profile.model.n_layers} layers, "
        f"{profile.model.parameters / 1e6:.1f}M parameters)",
        "device": f"{profile.device.name} ({profile.device.kind}, {profile.device.capability}), "
        f"torch {profile.device.torch_version}",
        "dtype": profile.dtype,
        **({"backend": profile.backend} if profile.backend else {}),
        **({"forwards": profile.forwards} if profile.forwards else {}),
        "suite": f"{profile.suite}, seed {profile.seed}",
        "decision": profile.decision,
        "fastest": ", ".join(f"{mode} {profile.fastest(mode)}" for mode in sorted(profile.predicted_speedup)),
        "predicted speedup": ", ".join(
            f"{mode} {speedup:.2f}x{interval(profile.predicted_interval.get(mode))}"
            for mode, speedup in profile.predicted_speedup.items()
        )
        or "-",
        "latency model": f"median error {latency.cv_median_error:.1%} (test-retest {latency.test_retest:.1%}) "
        f"over {latency.n_points} points, contexts {latency.fitted_context_tokens[0]} to "
        f"{latency.fitted_context_tokens[1]} tokens",
        "extra memory": f"{profile.extra_bytes / 2**20:.1f} MiB of quantised weights beside the model's own"
        if profile.extra_bytes
        else "none",
        "artifacts": ", ".join(f"{entry.name} ({entry.n_bytes / 2**20:.1f} MiB)" for entry in profile.artifacts)
        or "none",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, Text(value))
    yield table
    yield _cascade(profile.drafters, profile.model.n_layers)
    if profile.predicted_by_task:
        yield _tasks(profile)
    if profile.predicted_by_batch:
        yield _batches(profile, reports)
    if profile.methods:
        yield _methods(profile)
    if reports:
        from casspec.tuner.bench.report import bench_table
        from casspec.tuner.calibration_history import latest_of_modes

        for report in latest_of_modes(reports):
            yield Text(f"benchmark of {report.created_at[:16].replace('T', ' ')}")
            yield bench_table(report)


def _cascade(drafters: Sequence[DrafterSpec], n_layers: int) -> Table:
    sublayers = ("skipped attention", "skipped mlp")
    table = _table(
        "drafter", "kind", "precision", *sublayers, "parameters", wrapped={*sublayers, "parameters"}, title="cascade"
    )
    for drafter in drafters:
        skipped = [_layers(layers, n_layers) for layers in (drafter.skip.attention, drafter.skip.mlp)]
        plan = [str(drafter.quantization.precision), *skipped] if drafter.kind == "self" else ["", "", ""]
        table.add_row(drafter.name, drafter.kind, *plan, _settings(drafter.parameters))
    return table


def _tasks(profile: CascadeProfile) -> Table:
    """What is predicted of every task, and which cascade it has."""
    modes = list(profile.predicted_by_task)
    table = _table("task", *modes, "cascade", "gain of its own", wrapped={"cascade"}, title="predicted by task")
    for task in dict.fromkeys(task for speedups in profile.predicted_by_task.values() for task in speedups):
        found = [profile.predicted_by_task[mode].get(task) for mode in modes]
        own, gain = profile.by_task.get(task), profile.task_gains.get(task)
        table.add_row(
            task,
            *("" if speedup is None else f"{speedup:.2f}x" for speedup in found),
            "the one for all" if own is None else (", ".join(own.drafters) or own.decision),
            "" if gain is None else f"{gain - 1:+.1%}",
        )
    return table


def _batches(profile: CascadeProfile, reports: Sequence[BenchReport]) -> Table:
    """What is predicted of several sequences side by side, and what the newest benchmark that decoded them measured."""
    rows = next((report.batches for report in reports if report.batches), ())
    table = _table("sequences", "decision", "predicted", "measured", title="predicted by batch")
    for one in profile.predicted_by_batch:
        found: dict[str, float] = {
            row.mode: row.over_plain for row in rows if (row.method, row.batch) == (CASCADE, one.batch)
        }
        table.add_row(str(one.batch), one.decision, _speedups(one.speedup), _speedups(found))
    return table


def interval(bounds: tuple[float, float] | None) -> str:
    """Of a predicted speedup, by choice of prompts; nothing where it is not known."""
    return f" ({bounds[0]:.2f}-{bounds[1]:.2f})" if bounds else ""


def _methods(profile: CascadeProfile) -> Table:
    table = _table("method", "variant", "parameters", wrapped={"parameters"}, title="settings")
    for entry in profile.methods:
        table.add_row(entry.method, entry.variant, _settings(entry.parameters))
    return table


def _table(*columns: str, wrapped: Collection[str] = (), title: str | None = None) -> Table:
    """A plain table in which only the `wrapped` columns give way on a narrow terminal."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in wrapped)
    return table


def _layers(skipped: Sequence[int], n_layers: int) -> str:
    return f"{len(skipped)}/{n_layers}: {' '.join(map(str, skipped))}" if skipped else f"0/{n_layers}"


def _speedups(by_mode: Mapping[str, float], separator: str = ", ") -> str:
    return separator.join(f"{mode} {value:.2f}x" for mode, value in by_mode.items()) or "-"


def _settings(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _cell(name: str, value: Any) -> str:
    if name == "extra_bytes":
        return f"{value / 2**20:.1f} MiB"
    if isinstance(value, dict):
        return _speedups(value) if name.endswith("speedup") else _settings(value) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:.1%}" if isinstance(value, float) else str(value)
