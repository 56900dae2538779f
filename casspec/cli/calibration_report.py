"""How a finished calibration is told to the user: the benchmark's table, what was chosen, where to go from here."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from casspec.cli.console import output, say
from casspec.cli.profile_tables import interval
from casspec.storage.schema import CASCADE

if TYPE_CHECKING:
    from casspec.storage.schema import BenchReport, CascadeProfile
    from casspec.tuner.settings import CalibrationSettings, SearchSettings
    from casspec.tuner.suites.prompts import Suite

DECISIONS = {
    "cascade": "self-drafters over retrieval",
    "retrieval-only": "retrieval alone: no self-drafter is predicted to pay",
    "off": "off: no drafter is predicted to pay on this device",
}


def print_plan(settings: CalibrationSettings, suite: Suite, bench: bool, stored: bool) -> None:
    """What every stage would do, on stdout.

    Args:
        bench: whether a benchmark would end it. stored: whether all of it is stored already.
    """
    profile, record, search, cascade = settings.profile, settings.record, settings.search, settings.cascade
    halves = {half: len(suite.half(half)) for half in ("tuning", "reporting")}
    limit = "" if cascade.max_extra_bytes is None else f", {cascade.max_extra_bytes:,} bytes of quantised weights"
    rows = [
        f"profile   latencies up to {profile.max_context} tokens of context and batch {profile.max_batch}, "
        f"about {profile.seconds:g} s; `casspec profile --dry-run` lists them",
        f"record    {min(record.prompts, halves['tuning'])} of the {halves['tuning']} prompts of the tuning half of "
        f"'{suite.name}', {'with all turns, ' if record.turns == 'all' else ''}{record.tokens} tokens each, "
        f"{' and '.join(record.modes)}",
        f"search    {_drafters(search)}, each on {search.recordings} recordings at most",
        f"cascade   at most {cascade.max_drafters} self-drafters{limit}, {cascade.tuning_seconds:g} s of tuning each"
        + (", and one for each task that gains from its own" if cascade.per_task else ""),
        "publish   one profile in the store, its runs and its version in MLflow",
    ]
    if bench:
        asked = settings.bench
        rows.append(
            f"bench     {min(asked.prompts, halves['reporting'])} of the {halves['reporting']} prompts of the reporting half, "
            f"{asked.tokens} tokens each, {' and '.join(asked.modes)}"
        )
    for row in rows:
        output.print(row, markup=False, soft_wrap=True)
    say(
        "all of it is stored: the command would answer from there"
        if stored
        else "nothing was measured: this is a dry run, what is stored already is not measured again"
    )


def _drafters(search: SearchSettings) -> str:
    """How many, in what time."""
    time = (
        f"a share of the calibration's time, for {search.calibration_seconds:g} s of all stages together where that is enough"
        if search.seconds == "auto"
        else f"{search.seconds:g} s"
    )
    if search.trials == "auto":
        return f"drafters in {time}"
    return f"at most {search.trials} drafters in {time}"


def print_outcome(profile: CascadeProfile, report: BenchReport | None, asked: bool = False) -> None:
    """The table on stdout, the rest on stderr. `asked`: whether there should have been a benchmark."""
    if report is not None:
        from casspec.tuner.bench.report import bench_table, noise_line

        output.print(bench_table(report))
        say(noise_line(report))
    predicted = ", ".join(
        f"{speedup:.2f}x{interval(profile.predicted_interval.get(mode))} {mode}"
        for mode, speedup in sorted(profile.predicted_speedup.items())
    )
    profile_id = profile.profile_id
    say(f"profile   {profile_id}  {profile.model.name} on {profile.device.name}, {profile.dtype}")
    # A profile may keep plans for other methods although the cascade runs without them.
    members = [drafter.name for drafter in profile.drafters if drafter.parameters.get("cascade", True)]
    say(f"cascade   {DECISIONS[profile.decision]} ({', '.join(members) or 'none'})")
    say(f"predicted {predicted or 'nothing'}; latency model within {profile.latency.cv_median_error:.1%}")
    for line in _fastest(profile), _batches(profile, report), _tasks(profile), _gap(profile, report):
        if line:
            say(line)
    if asked and report is None:
        say(
            "measured  nothing: the suite's reporting half has no prompt that leaves room for the tokens of the benchmark"
        )
    say(f"next      casspec profiles show {profile_id}   the profile")
    say("          casspec ui                          trials and figures in the browser")
    say(f'          casspec generate --model {quote(profile.model.name)} "def main():"')


def _fastest(profile: CascadeProfile) -> str:
    """Which method decodes by default in each mode, where it is not the cascade everywhere."""
    chosen = {mode: profile.fastest(mode) for mode in sorted(profile.predicted_of_others)}
    if set(chosen.values()) <= {CASCADE}:
        return ""
    listed = [
        f"{mode} {method}"
        + (f" ({profile.predicted_of_others[mode][method]:.2f}x predicted)" if method != CASCADE else "")
        for mode, method in chosen.items()
    ]
    return f"fastest   {', '.join(listed)}: what decodes unless --method says otherwise"


def _batches(profile: CascadeProfile, report: BenchReport | None) -> str:
    """Predicted speedup by batch, where anything is known beyond one sequence, and what was measured of it."""
    several = [prediction for prediction in profile.predicted_by_batch if prediction.batch > 1]
    if not several:
        return ""
    main = "sample" if "sample" in several[0].speedup else "greedy"
    rows = report.batches if report else ()
    measured = {row.batch: row.over_plain for row in rows if (row.method, row.mode) == (CASCADE, main)}
    listed = ", ".join(
        f"{one.batch}: {one.speedup[main]:.2f}x {one.decision}"
        + (f" ({measured[one.batch]:.2f}x measured)" if one.batch in measured else "")
        for one in several
    )
    return f"batches   {listed} ({main}" + (")" if measured else "; `casspec bench --batch` measures)")


def _tasks(profile: CascadeProfile) -> str:
    """Which tasks have a cascade of their own, and what one would gain where they have none."""
    if not profile.task_gains:
        return ""
    listed = [
        f"{task} {'has its own' if task in profile.by_task else 'does without'} ({gain - 1:+.1%})"
        for task, gain in profile.task_gains.items()
    ]
    return f"tasks     {', '.join(listed)}"


def _gap(profile: CascadeProfile, report: BenchReport | None) -> str:
    """What was predicted beside what the benchmark measured, over all tasks."""
    if report is None:
        return ""
    from casspec.storage.schema import OVERALL
    from casspec.tuner.bench.predicted_vs_measured import compare

    known = [one for one in compare(profile, [report]) if one.task == OVERALL and one.measured and one.gap is not None]
    told = [
        f"{one.mode} {one.measured:.2f}x on {one.n_prompts} other prompts, "
        + (f"of which replay predicts {one.replayed:.2f}x" if one.replayed else f"predicted {one.predicted:.2f}x")
        + f": gap {one.gap:+.1%}"
        for one in known
    ]
    return f"measured  {'; '.join(told)}" if told else ""
