"""`casspec profiles`, run as a user runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.schema import CascadeProfile
from tests.storage import samples

Run = Callable[..., tuple[int, str, str]]


def test_list_shows_what_is_stored_latest_first(run: Run, stored) -> None:
    code, out, _ = run("profiles", "list", "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert [row["id"] for row in rows] == [stored[1].profile_id, stored[0].profile_id]
    assert rows[1]["measured_speedup"] == {"greedy": 1.6}
    _, table, _ = run("profiles", "list")
    assert all(profile.profile_id in table for profile in stored)


@pytest.mark.parametrize("command", ["list", "show", "compare"])
def test_profiles_are_read_without_torch(storage: str, stored, command: str) -> None:
    """On a host that only looks, and within a moment."""
    first, second = (profile.profile_id for profile in stored)
    ids = {"list": [], "show": [first], "compare": [first, second]}[command]
    script = "import sys; from casspec.cli.main import main; code = main(sys.argv[1:]); sys.exit(code or 'torch' in sys.modules)"
    arguments = [sys.executable, "-c", script, "profiles", command, *ids, "--storage", storage]
    assert subprocess.run(arguments, capture_output=True, check=False).returncode == 0


def test_an_empty_store_says_what_to_do(run: Run) -> None:
    assert run("profiles", "list")[::2] == (0, "no profiles yet: `casspec calibrate` makes one\n")
    assert run("profiles", "list", "--format", "json")[1] == "[]\n"
    code, out, err = run("profiles", "show")
    assert (code, out) == (2, "")
    assert "casspec calibrate" in err


def test_show_prints_the_profile_and_its_benchmark(run: Run, stored) -> None:
    first, second = stored
    document = json.loads(run("profiles", "show", first.profile_id[:8], "--format", "json")[1])
    assert CascadeProfile.model_validate(document["profile"]) == first
    assert len(document["bench_reports"]) == 1
    table = run("profiles", "show", first.profile_id)[1]
    assert all(word in table for word in ("sparse-40", "3/8: 2 3 5", "recycling-matrix", "1.60x", "max_nodes=16"))
    assert second.profile_id in run("profiles", "show")[1]


def test_compare_puts_profiles_side_by_side(run: Run, stored) -> None:
    ids = [profile.profile_id for profile in stored]
    header, *lines = run("profiles", "compare", *ids)[1].splitlines()
    assert header.split() == ids
    assert any(line.split() == ["decision", "cascade", "off"] for line in lines)
    assert run("profiles", "compare", ids[0])[0] == 2


def calibrated_profile(storage: str, seed: int) -> CascadeProfile:
    """The profile of a finished calibration."""
    with open_repository(storage) as repository:
        key = repository.calibration(samples.model(), samples.device(), "float32", {"seed": seed}).calibration_id
        latency = samples.latency_model().model_copy(
            update={"features": ("constant",), "coefficients": (1.0,), "shape": {"launch_ms": 2.0}}
        )
        profile = repository.save_profile(key, samples.profile(seed=seed, latency=latency))
        repository.finish(key)
        return profile


def test_promoting_shows_in_the_list_and_in_mlflow_until_the_profile_is_deleted(
    run: Run, storage: str, with_mirror: Callable[[Path], Path]
) -> None:
    with_mirror(Path(storage))
    first, second = calibrated_profile(storage, 1), calibrated_profile(storage, 2)
    for profile in (first, second, first):
        code, _, err = run("profiles", "promote", profile.profile_id)
        assert (code, err.count("\n")) == (0, 1)
        assert f"production is now {profile.profile_id}" in err
    rows = {row["id"]: row["aliases"] for row in json.loads(run("profiles", "list", "--format", "json")[1])}
    assert rows == {first.profile_id: ["production"], second.profile_id: ["candidate"]}
    assert "production" in run("profiles", "list")[1]
    assert first.profile_id in run("profiles", "show", "production")[1]

    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.mirror import MLflowMirror
    from casspec.tuner.mlflow_mirror.registry import registered_name

    client, name = MLflowMirror(external_databases(storage))._client, registered_name(first)
    assert client.get_model_version_by_alias(name, "production").tags["profile_id"] == first.profile_id
    assert run("profiles", "delete", "production", "--yes")[0] == 0
    left = client.search_model_versions(f"name = '{name}'")
    assert [version.tags["profile_id"] for version in left] == [second.profile_id]
    # The second had it before: it is production again.
    assert client.get_model_version_by_alias(name, "production").tags["profile_id"] == second.profile_id
    assert second.profile_id in run("profiles", "show", "production")[1]


def test_promoting_and_deleting_do_without_a_tracking_server_that_is_away(
    run: Run, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.owed import Debt, Owed

    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    profile = calibrated_profile(storage, 1)
    code, _, err = run("profiles", "promote", profile.profile_id)
    assert (code, err) == (
        0,
        f"production is now {profile.profile_id} ({profile.model.name} on test processor, float32)\n",
    )
    assert profile.profile_id in run("profiles", "show", "production")[1]
    assert Owed(external_databases(storage).owed).debts() == [Debt(profile.content_hash())]
    code, _, err = run("profiles", "delete", "production", "--yes")
    assert code == 0
    assert "connection refused" in err
    assert err.endswith(f"deleted {profile.profile_id}\n")


def test_promoting_what_cannot_be_is_one_line(run: Run, stored) -> None:
    for words, reason in (
        ((stored[0].profile_id,), "imported"),
        ((stored[0].profile_id, "--alias", "latest"), "production"),
        (("ffff",), "casspec profiles list"),
    ):
        code, _, err = run("profiles", "promote", *words)
        assert (code, err.count("\n")) == (2, 1)
        assert reason in err


def test_delete_asks_unless_told_not_to(run: Run, stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert run("profiles", "delete", stored[0].profile_id)[::2] == (0, "nothing deleted\n")
    assert run("profiles", "show", stored[0].profile_id)[0] == 0
    assert run("profiles", "delete", stored[0].profile_id, "--yes")[0] == 0
    code, _, err = run("profiles", "show", stored[0].profile_id)
    assert code == 2
    assert err.count("\n") == 1
