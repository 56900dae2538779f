"""What MLflow is owed outlives the process."""

from __future__ import annotations

from pathlib import Path

from casspec.tuner.mlflow_mirror.owed import Debt, Owed

PROFILE, BENCH = "a" * 64, "b" * 64


def test_debts_are_kept_until_they_are_settled_calibrations_first(tmp_path: Path) -> None:
    debts = [Debt(bench_hash=BENCH), Debt(PROFILE, BENCH), Debt(PROFILE)]
    for debt in (*debts, *debts):
        Owed(tmp_path / "owed").add(debt)
    (tmp_path / "owed" / "README").touch()
    assert Owed(tmp_path / "owed").debts() == [Debt(PROFILE), Debt(bench_hash=BENCH), Debt(PROFILE, BENCH)]
    for debt in (*debts, *debts):
        Owed(tmp_path / "owed").settle(debt)
    assert Owed(tmp_path / "owed").debts() == []


def test_a_folder_that_cannot_be_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    owed = Owed(tmp_path / "file" / "owed")
    owed.add(Debt(PROFILE))
    owed.settle(Debt(PROFILE))
    assert owed.debts() == []
