"""Races of settings: who wins, what it costs, and what neither drift nor an unusable setting can change."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.text.sampling import Sampling
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.bench.entries import TextGenerator
from casspec.tuner.bench.requests import Request
from casspec.tuner.methods.halving import FEWEST_TOKENS, Halved, Halving, Racer, Round
from tests.tuner.timed import Machine, Refusing, Timed, Uneven

MODES = {"sample": 0.7, "greedy": 0.0}


def round_at(index: int, folds: int = 1) -> Round:
    requests = tuple(Request(f"p{index}", mode, (1, 2), Sampling(heat), index) for mode, heat in MODES.items())
    return Round(index % folds, requests)


def race(machine: Machine, generators: dict[str, TextGenerator], budget_ms: float = 20_000.0) -> Halved:
    """Of generators by name, the published one first; setting {"name": name}."""
    racers = [Racer({"name": name}, [generator]) for name, generator in generators.items()]
    return Halving(racers, [Timed(machine, "autoregressive")], round_at, budget_ms).run()


def decodes(machine: Machine) -> Counter[str]:
    return Counter(name for name, _, _ in machine.calls)


def test_the_fastest_setting_wins_with_its_speedups_by_mode() -> None:
    machine = Machine()
    halved = race(
        machine,
        {
            "published": Timed(machine, "published", 1.2),
            "even": Timed(machine, "even", 1.5, 1.5),
            "one-sided": Timed(machine, "one-sided", 1.0, 2.1),
            "slow": Timed(machine, "slow", 0.5),
        },
    )
    assert halved.best.parameters == {"name": "even"}
    assert halved.best.speedups == pytest.approx({"sample": 1.5, "greedy": 1.5})
    assert halved.published.speedups == pytest.approx({"sample": 1.2, "greedy": 1.2})
    assert halved.n_settings == 4


def test_the_published_setting_wins_a_tie() -> None:
    machine = Machine()
    twins = {name: Timed(machine, name, 1.3) for name in ("published", "a", "b")}
    assert race(machine, twins).best.parameters == {"name": "published"}


def test_slower_halves_drop_out_and_the_published_setting_stays() -> None:
    machine = Machine()
    speeds = {"published": 0.5} | {f"s{i}": 1 + i / 10 for i in range(8)}
    halved = race(machine, {name: Timed(machine, name, speed) for name, speed in speeds.items()})
    assert halved.best.parameters == {"name": "s7"}
    count = decodes(machine)
    assert count["published"] == count["s7"] == count["s6"] == count["autoregressive"]
    assert count["s7"] > count["s5"] == count["s4"] > count["s3"] == count["s0"]


def test_a_setting_that_stays_is_raced_to_the_end_however_slow() -> None:
    machine = Machine()
    speeds = {"published": 1.0, "stored": 0.6} | {f"s{i}": 1 + i / 10 for i in range(8)}
    racers = [
        Racer({"name": name}, [Timed(machine, name, speed)], stays=name == "stored") for name, speed in speeds.items()
    ]
    halved = Halving(racers, [Timed(machine, "autoregressive")], round_at, 20_000).run()
    assert halved.best.parameters == {"name": "s7"}
    count = decodes(machine)
    assert count["stored"] == count["published"] == count["s7"] == count["s6"] > count["s5"]


def test_what_stays_gives_way_to_the_clearly_faster_alone() -> None:
    def winner(faster_by: float) -> str:
        machine = Machine()
        racers = [
            Racer({"name": "published"}, [Timed(machine, "published", 0.9)]),
            Racer({"name": "stored"}, [Timed(machine, "stored", 1.0)], stays=True),
            Racer({"name": "lucky"}, [Uneven(machine, "lucky", faster_by)]),
        ]
        return Halving(racers, [Timed(machine, "autoregressive")], round_at, 20_000).run().best.parameters["name"]

    assert winner(1.02) == "stored"
    assert winner(1.5) == "lucky"


def test_survivors_decode_longer_texts_and_everyone_in_a_round_the_same() -> None:
    machine = Machine()
    speeds = {f"s{i}": 1 + i / 10 for i in range(9)}
    race(machine, {name: Timed(machine, name, speed) for name, speed in speeds.items()}, budget_ms=6_000)
    lengths = {name: [n for who, _, n in machine.calls if who == name] for name in ("autoregressive", "s0", "s1", "s8")}
    assert lengths["autoregressive"] == lengths["s0"] == lengths["s8"]
    assert max(lengths["s8"]) > max(lengths["s1"]) > FEWEST_TOKENS
    assert sorted(lengths["s8"]) == lengths["s8"]


@given(
    st.lists(st.floats(0.3, 3.0), min_size=1, max_size=16),
    st.floats(100.0, 30_000.0),
)
def test_the_best_of_any_field_wins_and_the_budget_holds_up_to_one_round(speeds: list[float], budget_ms: float) -> None:
    machine = Machine()
    halved = race(machine, {f"s{i}": Timed(machine, f"s{i}", speed) for i, speed in enumerate(speeds)}, budget_ms)
    assert halved.best.score == pytest.approx(max(speeds))
    round_ms = 2 * 128 * (1 + sum(1 / speed for speed in speeds))
    assert halved.spent_ms <= budget_ms + round_ms


def test_a_machine_that_slows_down_favours_nobody() -> None:
    machine = Machine(drift=1.002)
    speeds = {"published": 1.0, "s1": 1.1, "s2": 1.2, "s3": 1.3, "s4": 1.45}
    halved = race(machine, {name: Timed(machine, name, speed) for name, speed in speeds.items()}, 60_000)
    assert machine.slowness > 1.5
    assert halved.best.parameters == {"name": "s4"}
    assert halved.best.speedups == pytest.approx({"sample": 1.45, "greedy": 1.45}, rel=0.02)


def test_a_setting_that_cannot_run_is_left_out_and_without_the_published_one_there_is_no_race() -> None:
    machine = Machine()
    fast = Timed(machine, "fast", 2.0)
    halved = race(machine, {"published": Timed(machine, "published"), "unusable": Refusing(), "fast": fast})
    assert (halved.best.parameters, halved.n_settings) == ({"name": "fast"}, 2)
    with pytest.raises(UnsupportedOption, match="no kernel here"):
        race(machine, {"published": Refusing(), "fast": fast})


def test_a_text_is_decoded_by_the_generator_of_its_fold() -> None:
    machine = Machine()
    folds = [Timed(machine, "fold 0", 1.0), Timed(machine, "fold 1", 2.0)]
    baseline = [Timed(machine, "autoregressive")] * 2
    halved = Halving([Racer({}, folds)], baseline, lambda index: round_at(index, folds=2), 4_000).run()
    count = decodes(machine)
    assert count["fold 0"] >= count["fold 1"] > 0
    assert count["fold 0"] + count["fold 1"] == count["autoregressive"]
    assert 1.0 < halved.best.score < 2.0
