"""`casspec profiles`, `export`, `import` and `db`, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.predictions import BatchPrediction, TaskCascade
from casspec.storage.schema import CascadeProfile, DrafterSpec, Precision, Quantization, SkipSet
from tests.storage import samples

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def run(storage: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the test's database: (exit code, stdout, stderr)."""

    def command(*words: str, storage: str = storage) -> tuple[int, str, str]:
        code = main([*words, "--storage", storage])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def stored(storage: str) -> tuple[CascadeProfile, CascadeProfile]:
    """Two profiles; the first has an artifact and a benchmark, the second is the latest."""
    with open_repository(storage) as repository:
        artifact = repository.save_artifact("recycling-matrix", b"matrix")
        first = repository.save_profile(None, samples.profile(artifacts=(artifact,)))
        second = repository.save_profile(None, samples.profile(seed=1, decision="off"))
        repository.save_bench(first.profile_id, samples.bench_report())
    return first, second


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


def test_show_tells_predictions_by_task_and_batch(run: Run, storage: str) -> None:
    with open_repository(storage) as repository:
        own = TaskCascade(drafters=("quick",), decision="cascade", predicted_speedup={"greedy": 2.5})
        repository.save_profile(
            None,
            samples.profile(
                predicted_interval={"greedy": (1.25, 1.75)},
                predicted_by_task={"greedy": {"rewrite": 2.25, "tests": 1.5}},
                by_task={"rewrite": own},
                task_gains={"rewrite": 1.07, "tests": 0.99},
                predicted_by_batch=(BatchPrediction(batch=8, decision="retrieval-only", speedup={"greedy": 1.31}),),
            ),
        )
    lines = run("profiles", "show")[1].splitlines()
    assert any("(1.25-1.75)" in line for line in lines)
    assert next(line for line in lines if line.startswith("rewrite")).split() == ["rewrite", "2.25x", "quick", "+7.0%"]
    assert next(line for line in lines if line.startswith("tests")).rstrip().endswith("the one for all  -1.0%")
    assert next(line for line in lines if line.startswith("8 ")).split()[1:4] == ["retrieval-only", "greedy", "1.31x"]


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


def test_show_counts_the_memory_of_a_precision_once(run: Run, storage: str) -> None:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=3 * 2**20)
    specs = [DrafterSpec(name=f"int8-{i}", kind="self", skip=SkipSet(mlp=(i,)), quantization=int8) for i in (1, 2)]
    with open_repository(storage) as repository:
        repository.save_profile(None, samples.profile(drafters=tuple(specs)))
    table = run("profiles", "show")[1]
    assert "3.0 MiB of quantised weights" in table
    assert "int8-dynamic" in table


def test_compare_puts_profiles_side_by_side(run: Run, stored) -> None:
    ids = [profile.profile_id for profile in stored]
    header, *lines = run("profiles", "compare", *ids)[1].splitlines()
    assert header.split() == ids
    assert any(line.split() == ["decision", "cascade", "off"] for line in lines)
    assert run("profiles", "compare", ids[0])[0] == 2


def test_compare_shows_drafters_parameters_speedups_and_latency_errors(run: Run, stored) -> None:
    table = run("profiles", "compare", *(profile.profile_id for profile in stored))[1]
    told = {line.split("  ")[0].strip(): line.split() for line in table.splitlines()}
    assert told["drafters"][1] == "sparse-40,"
    assert told["dytc"][1:] == ["max_nodes=16", "max_nodes=16"]
    assert told["measured speedup"][-1] == "-"
    assert told["measured speedup"][2:4] == ["greedy", "1.60x"]
    assert told["predicted speedup"][2:6] == ["greedy", "1.50x,", "sample", "1.40x"]
    assert told["latency p90 error"][-1] == "8.0%"


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


def test_a_profile_moves_to_another_store_with_its_artifacts(run: Run, stored, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "out" / "profile.json", str(tmp_path / "other.db")
    file.parent.mkdir()
    assert run("export", stored[0].profile_id, "--output", str(file))[:2] == (0, "")
    code, out, _ = run("import", str(file), storage=elsewhere)
    assert (code, out.strip()) == (0, stored[0].profile_id)
    with open_repository(elsewhere) as repository:
        moved = repository.profile("latest")
        assert moved == stored[0]
        assert repository.artifact(moved.artifacts[0].sha256) == b"matrix"


def test_a_missing_artifact_is_said_and_the_profile_imported(run: Run, stored, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(run("export", stored[0].profile_id)[1])
    code, _, err = run("import", str(file), storage=str(tmp_path / "other.db"))
    assert code == 0
    assert "will start cold" in err


def test_exports_keep_stdout_for_the_file_and_stderr_for_the_fidelity(run: Run, stored) -> None:
    code, out, err = run("export", stored[0].profile_id, "--to", "vllm")
    assert code == 0
    assert json.loads(out)["method"] == "ngram"
    assert err.startswith("partial: for vLLM")
    code, out, err = run("export", stored[1].profile_id, "--to", "vllm")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_export_into_a_missing_folder_is_one_line(run: Run, stored, tmp_path: Path) -> None:
    code, _, err = run("export", "latest", "--output", str(tmp_path / "missing" / "profile.json"))
    assert code == 2
    assert err.count("\n") == 1


def test_skip_layers_become_seeds_of_models_with_as_many_layers(run: Run, storage: str, tmp_path: Path) -> None:
    file = tmp_path / "skip_layers.json"
    file.write_text(json.dumps({"a": {"attention": [1, 2], "mlp": [3]}, "b": {"attention": [30], "mlp": []}}))
    assert run("import", str(file))[0] == 2
    assert "--name" in run("import", str(file), "--layers", "8")[2]
    assert run("import", str(file), "--layers", "8", "--name", "a")[0] == 0
    with open_repository(storage) as repository:
        (seed,) = repository.seeds(8)
    assert (seed.name, seed.skip) == ("a", SkipSet(attention=(1, 2), mlp=(3,)))


def test_layers_are_read_from_the_model_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "skip_layers.json"
    file.write_text(json.dumps({"a": {"attention": [1], "mlp": []}}))
    assert run("import", str(file), "--model", "reference")[0] == 0
    code, _, err = run("import", str(file), "--model", str(tmp_path / "nothing"))
    assert (code, err.count("\n")) == (2, 1)
    assert "--layers" in err
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    code, _, err = run("import", str(file), "--model", str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "--layers" in err


def test_db_commands_follow_a_database_from_nothing_to_trouble(run: Run, storage: str) -> None:
    assert run("db", "current")[:2] == (0, "none\n")
    assert not Path(storage).exists()
    code, _, err = run("db", "check")
    assert code == 2
    assert "casspec db upgrade" in err
    assert "none -> " in run("db", "upgrade")[2]
    assert "nothing to do" in run("db", "upgrade")[2]
    assert run("db", "check")[0] == 0
    assert run("db", "current")[1] != "none\n"
