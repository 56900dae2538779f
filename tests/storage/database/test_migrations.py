from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.database import migrations
from casspec.storage.database.connection import Database, open_database
from casspec.storage.database.location import storage_url
from casspec.storage.database.tables import Base
from casspec.storage.repository import Repository
from tests.storage import samples
from tests.storage.database.upgrade_asset import ASSETS

ROOT = Path(__file__).parents[3]


def shape(url) -> dict[str, object]:
    """Tables, columns, keys and indexes as the database itself reports them."""
    engine = create_engine(url)
    inspector = inspect(engine)
    found = {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table),
            sorted(inspector.get_foreign_keys(table), key=lambda key: str(key["name"])),
            sorted(inspector.get_unique_constraints(table), key=lambda key: str(key["name"])),
            sorted(inspector.get_indexes(table), key=lambda index: str(index["name"])),
        )
        for table in inspector.get_table_names()
        if table != migrations.VERSION_TABLE
    }
    engine.dispose()
    return found


def test_migrations_lead_to_the_tables_of_the_code(storage: str) -> None:
    database = Database(storage)
    assert database.upgrade().is_current
    assert database.problems() == []
    database.close()
    upgraded = shape(storage_url(storage))

    engine = create_engine(storage_url(storage))
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    engine.dispose()
    assert shape(storage_url(storage)) == upgraded


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    Repository(database).save_profile(None, samples.profile())
    assert database.upgrade() == database.upgrade()
    assert Repository(database).profiles() == [samples.profile()]


def test_the_version_table_is_our_own(database: Database) -> None:
    with database.reading() as session:
        names = inspect(session.connection()).get_table_names()
    assert migrations.VERSION_TABLE in names
    assert "alembic_version" not in names


def test_check_sees_a_missing_column_and_a_missing_schema(storage: str) -> None:
    unborn = Database(storage)
    assert unborn.schema().current is None
    assert "casspec db upgrade" in unborn.problems()[0]
    unborn.close()

    database = open_database(storage)
    with database.writing() as session:
        session.execute(text("ALTER TABLE models DROP COLUMN family"))
    assert any("family" in problem for problem in database.problems())
    database.close()


def test_tables_of_other_programs_are_no_problem(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("CREATE TABLE theirs (x INTEGER)"))
        session.execute(text("CREATE INDEX ix_theirs ON theirs (x)"))
    assert database.problems() == []


def test_an_upgrade_that_fails_leaves_nothing_behind(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = migrations.upgrade

    def killed(connection) -> None:
        upgrade(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "upgrade", killed)
    database = Database(storage)
    with pytest.raises(KeyboardInterrupt):
        database.upgrade()
    assert database.schema().current is None
    assert shape(storage_url(storage)) == {}
    monkeypatch.undo()
    assert database.upgrade().is_current
    database.close()


@pytest.mark.parametrize("asset", sorted(ASSETS.glob("storage_*.db")), ids=lambda path: path.stem)
def test_databases_of_earlier_releases_are_upgraded_with_all_they_hold(asset: Path, tmp_path: Path) -> None:
    file = tmp_path / "casspec.db"
    shutil.copy(asset, file)
    database = open_database(str(file))
    assert database.schema().is_current
    assert database.problems() == []
    repository = Repository(database)
    finished = repository.finished_calibration(samples.model(), samples.device(), "float32", samples.SETTINGS)
    assert finished is not None
    _, found = finished
    assert found.profile_id == repository.profile("latest").profile_id
    assert repository.profile(found.content_hash()) == found
    assert repository.artifact(found.artifacts[0].sha256) == b"matrix"
    assert len(repository.bench_reports(found.profile_id)) == 1
    assert len(repository.starting_plans(8)) == 1
    database.close()


def test_a_database_that_tells_of_pace_lists_shows_and_gives_slowdown_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "casspec.db"
    shutil.copy(ASSETS / "storage_0.1.0.db", file)
    retest, costs = '{"measurement":{"values":[1.0]},"pace":3.0,"point":{}}', '{"by_mode":{"pace":{}},"plain_pace":0.5}'
    with closing(sqlite3.connect(file)) as old, old:
        (calibration_id, document), *_ = old.execute("SELECT calibration_id, document FROM latency_samples")
        old.execute("UPDATE latency_samples SET document = ?", (json.dumps(json.loads(document) | {"pace": 2.0}),))
        for kind, content in (("latency-retest", retest), ("overhead", costs), ("stage-of-others", retest)):
            old.execute("INSERT INTO stage_documents VALUES (?, ?, 'all', ?)", (calibration_id, kind, content))
    for command in ("list", "show"):
        assert main(["profiles", command, "--storage", str(file)]) == 0
        assert "tiny" in capsys.readouterr().out
    with open_repository(str(file)) as repository:
        (sample,) = repository.latency_samples(calibration_id)
        assert sample == samples.sample().model_copy(update={"slowdown": 2.0})
        kept = {kind: repository.get_document(calibration_id, kind, "all") for kind in ("latency-retest", "overhead")}
        assert kept["latency-retest"] == {"measurement": {"values": [1.0]}, "slowdown": 3.0, "point": {}}
        assert kept["overhead"] == {"by_mode": {"pace": {}}, "plain_slowdown": 0.5}
        assert repository.get_document(calibration_id, "stage-of-others", "all") == json.loads(retest)


def test_there_is_a_database_of_the_newest_schema() -> None:
    assert (ASSETS / f"storage_{migrations.newest_revision()}.db").exists(), (
        "python -m tests.storage.database.upgrade_asset"
    )


@pytest.mark.slow
def test_an_installed_wheel_creates_a_database_outside_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("casspec", "storage", "runtime", "profiler", "tuner", "alembic"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", source)
    for file in ("README.md", "LICENSE"):
        (source / file).write_text("not needed to migrate")
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", str(target), str(source)], check=True, timeout=200)

    program = (
        "import casspec.storage.database.migrations as m; from casspec.storage.database.connection import open_database;"
        "print(m.migrations_folder()); print(open_database('new.db').schema().is_current)"
    )
    outside = tmp_path / "outside"
    outside.mkdir()
    # -S keeps the checkout's editable install out (its .pth files stay unread); the libraries come back by path.
    libraries = os.pathsep.join([str(target), *(path for path in sys.path if path.endswith("site-packages"))])
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=outside,
        env={**os.environ, "PYTHONPATH": libraries},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(target / "casspec" / "migrations"), "True"]
