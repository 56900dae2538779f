"""MLflow is told now or later, and nobody fails for it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.errors import MirrorError
from casspec.storage.export.json_profile import export
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from casspec.tuner.external_databases import ExternalDatabases, external_databases
from casspec.tuner.mlflow_mirror import telling
from casspec.tuner.mlflow_mirror.mirror import BENCH_TAG, CALIBRATION_TAG, EXPERIMENT, MLflowMirror
from casspec.tuner.mlflow_mirror.owed import Debt, Owed
from casspec.tuner.mlflow_mirror.registry import registered_name
from casspec.tuner.mlflow_mirror.telling import make_up, tell_mlflow
from tests.storage import samples
from tests.tuner.mlflow_mirror.mirrored import MATRIX, children, history, profile, versions


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_repository(str(tmp_path / "mine" / "casspec.db")) as repository:
        yield repository


@pytest.fixture
def databases(of_host) -> ExternalDatabases:
    return of_host("mine")


def calibrated(repository: Repository, seed: int) -> tuple[str, CascadeProfile]:
    """A finished calibration."""
    told = profile(seed=seed, artifacts=())
    begun = repository.calibration(told.model, told.device, told.dtype, {"seed": seed})
    repository.save_profile(begun.calibration_id, told)
    repository.finish(begun.calibration_id)
    return begun.calibration_id, told


class Away(MLflowMirror):
    def __init__(self, databases: ExternalDatabases) -> None:
        raise MirrorError("MLflow is away")


def test_what_could_not_be_told_is_told_with_the_next(repository, databases, monkeypatch, caplog) -> None:
    first, told = calibrated(repository, 1)
    report = repository.save_bench(told.content_hash(), samples.bench_report())
    alone = repository.save_bench(None, samples.bench_report(created_at="2026-03-02T00:00:00+00:00"))
    debts = [
        Debt(told.content_hash()),
        Debt(told.content_hash(), report.content_hash()),
        Debt(bench_hash=alone.content_hash()),
    ]
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(telling, "MLflowMirror", Away)
        for debt in debts:
            assert tell_mlflow(repository, databases, debt, lambda mlflow: pytest.fail("it is away")) is None
        make_up(repository, databases)
    assert caplog.text.count("MLflow is away; it is stored here") == len(debts)
    assert Owed(databases.owed).debts() == [debts[0], debts[2], debts[1]]

    second, other = calibrated(repository, 2)
    known = replace(history(second, seed=2), profile=other)
    assert tell_mlflow(repository, databases, Debt(other.content_hash()), lambda mlflow: mlflow.promote(known)) == 1
    assert Owed(databases.owed).debts() == []
    mirror = MLflowMirror(databases)
    assert {key.partition(" ")[0] for key in children(mirror, first)} == {"latency", "replay", "bench"}
    assert len(mirror._search(f"tags.`{BENCH_TAG}` = '{alone.content_hash()}'")) == 1


def test_whoever_is_killed_while_telling_still_owes_it(repository, databases) -> None:
    calibration_id, told = calibrated(repository, 1)

    def killed(mlflow: MLflowMirror) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell_mlflow(repository, databases, Debt(told.content_hash()), killed)
    make_up(repository, databases)
    assert Owed(databases.owed).debts() == []
    assert set(children(MLflowMirror(databases), calibration_id)) == {"latency", "replay"}


def test_what_was_deleted_meanwhile_is_owed_no_more(repository, databases) -> None:
    Owed(databases.owed).add(Debt("a" * 64))
    Owed(databases.owed).add(Debt(None, "b" * 64))
    make_up(repository, databases)
    assert Owed(databases.owed).debts() == []


DOWNLOAD = """
import sys, mlflow
mlflow.MlflowClient().get_experiment_by_name("casspec")
mlflow.artifacts.download_artifacts(sys.argv[1], dst_path=sys.argv[2])
"""


@pytest.mark.slow
def test_two_hosts_tell_one_server_and_a_third_fetches_from_it(tracking_server, tmp_path, monkeypatch, capfd) -> None:
    for folder in ("work", "home", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    told = [history("one", aliases=("candidate", "production"), seed=1), history("two", aliases=("candidate",), seed=2)]
    hosts = [external_databases(str(tmp_path / host / "casspec.db")) for host in ("one", "two")]

    def tell(host: ExternalDatabases, known) -> int:
        mirror = MLflowMirror(host)
        mirror.mirror(known)
        mirror.mirror_bench(samples.bench_report(), known)
        return mirror.promote(known)

    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(tell, hosts, told)) == {1, 2}

    mirror = MLflowMirror(hosts[0])
    assert [each.name for each in mirror._client.search_experiments() if each.name != "Default"] == [EXPERIMENT]
    for known in told:
        assert len(mirror._search(f"tags.`{CALIBRATION_TAG}` = '{known.calibration_id}'")) == 1
        assert len(children(mirror, known.calibration_id)) == 5
        assert len(versions(mirror, known.profile)) == 1
    assert list((tmp_path / "work").iterdir()) == []
    assert capfd.readouterr().out == ""

    name = registered_name(told[0].profile)
    away = {"MLFLOW_TRACKING_URI": tracking_server, "HOME": str(tmp_path / "elsewhere"), "PATH": os.environ["PATH"]}
    asked = [sys.executable, "-c", DOWNLOAD, f"models:/{name}@production", str(tmp_path / "fetched")]
    done = subprocess.run(asked, env=away, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (matrix,) = (tmp_path / "fetched").glob("*.bin")
    assert matrix.read_bytes() == MATRIX
    assert (tmp_path / "fetched" / "profile.json").read_text("utf-8") == export(told[0].profile).text
