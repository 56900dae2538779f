"""Plain decoding and `dytc`, eager and by graphs, side by side; with a calibrated profile once there is one."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gpu.bound import bound_ms
from benchmarks.gpu.figures import PLAIN, noise, rows_of
from benchmarks.gpu.forwards import available, captures
from benchmarks.gpu.race import Course, Entrant, Race, Taken
from benchmarks.gpu.stages import Work
from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import CASCADE, DeviceCeilings

CALIBRATED = f"{CASCADE}, calibrated"


def decode(work: Work, target: TargetModel, ceilings: DeviceCeilings, course: Course) -> None:
    """Plain decoding twice, and `dytc` without a profile: its drafts are retrieved."""
    ways = available(target)
    entrants = [Entrant(method, way, Decoder(target, method=method)) for method in (PLAIN, CASCADE) for way in ways]
    entrants.append(again(entrants[0]))
    run_race(work, target, ceilings, entrants, course)


def decode_calibrated(
    work: Work, target: TargetModel, ceilings: DeviceCeilings, course: Course, profile: LoadedProfile
) -> None:
    """Plain decoding twice, `dytc` without the profile and with it; by graphs where there are some."""
    way = available(target)[-1]
    entrants = [Entrant(method, way, Decoder(target, method=method)) for method in (PLAIN, CASCADE)]
    entrants += [Entrant(CALIBRATED, way, Decoder(target, profile, CASCADE)), again(entrants[0])]
    run_race(work, target, ceilings, entrants, course)


def again(entrant: Entrant) -> Entrant:
    """The same once more, for what it differs by from itself."""
    return Entrant(entrant.method, entrant.forwards, entrant.generator, entrant.modes, again=True)


def run_race(
    work: Work, target: TargetModel, ceilings: DeviceCeilings, entrants: Sequence[Entrant], course: Course
) -> None:
    """Runs a race; after every prompt its rows stand in the outcome."""
    least = bound_ms(target.costs(), target.n_layers, ceilings.bandwidth_gb_per_s, course.context_tokens)
    taken: list[Taken] = []
    for texts in Race(target, entrants, course).run(work):
        taken += texts
        work.replace(rows_of(taken, least))
    for mode in course.modes:
        differs = noise(taken, mode)
        if differs is not None:
            work.note(f"noise, {mode}: {entrants[-1].method} differs from itself by {100 * differs:.1f} %")
    work.note(captures(target))
    work.note(
        f"bound: {least:.3f} ms a token, {1e3 / least:,.0f} tokens/s, at {course.context_tokens:.0f} tokens of context"
    )
