"""How a finished calibration is told to the user: the benchmark's table, what was chosen, where to go from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casspec.cli.console import output, say

if TYPE_CHECKING:
    from casspec.storage.schema import BenchReport, CascadeProfile

DECISIONS = {
    "cascade": "self-drafters over retrieval",
    "retrieval-only": "retrieval alone: no self-drafter is predicted to pay",
    "off": "off: no drafter is predicted to pay on this device",
}


def print_outcome(profile: CascadeProfile, report: BenchReport | None) -> None:
    """The table on stdout, the rest on stderr."""
    if report is not None:
        from casspec.tuner.report import bench_table, noise_line

        output.print(bench_table(report))
        say(noise_line(report))
    predicted = ", ".join(f"{speedup:.2f}x {mode}" for mode, speedup in sorted(profile.predicted_speedup.items()))
    profile_id = profile.profile_id
    say(f"profile   {profile_id}  {profile.model.name} on {profile.device.name}, {profile.dtype}")
    # A profile may keep plans for other methods although the cascade runs without them.
    members = [drafter.name for drafter in profile.drafters if drafter.parameters.get("cascade", True)]
    say(f"cascade   {DECISIONS[profile.decision]} ({', '.join(members) or 'none'})")
    say(f"predicted {predicted or 'nothing'}; latency model within {profile.latency.cv_median_error:.1%}")
    say(f"next      casspec profiles show {profile_id}   the profile")
    say("          casspec ui                          trials and figures in the browser")
    say(f'          casspec generate --model {profile.model.name} "def main():"')
