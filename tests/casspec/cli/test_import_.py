"""`casspec import`: profiles with their artifacts, and skip layers as starting plans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from casspec.storage import open_repository
from casspec.storage.schema import SkipSet

Run = Callable[..., tuple[int, str, str]]


def test_a_missing_artifact_is_said_and_the_profile_imported(run: Run, stored, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(run("export", stored[0].profile_id)[1])
    code, _, err = run("import", str(file), storage=str(tmp_path / "other.db"))
    assert code == 0
    assert "will start cold" in err


def test_skip_layers_become_starting_plans_of_models_with_as_many_layers(
    run: Run, storage: str, tmp_path: Path
) -> None:
    file = tmp_path / "skip_layers.json"
    file.write_text(json.dumps({"a": {"attention": [1, 2], "mlp": [3]}, "b": {"attention": [30], "mlp": []}}))
    assert run("import", str(file))[0] == 2
    assert "--name" in run("import", str(file), "--layers", "8")[2]
    assert run("import", str(file), "--layers", "8", "--name", "a")[0] == 0
    with open_repository(storage) as repository:
        (start,) = repository.starting_plans(8)
    assert (start.name, start.skip) == ("a", SkipSet(attention=(1, 2), mlp=(3,)))


def test_layers_are_read_from_the_model_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "skip_layers.json"
    file.write_text(json.dumps({"a": {"attention": [1], "mlp": []}}))
    assert run("import", str(file), "--model", "reference")[0] == 0
    code, _, err = run("import", str(file), "--model", str(tmp_path / "nothing"))
    assert (code, err.count("\n")) == (2, 1)
    assert "--layers" in err
    assert "no file at" in run("import", str(file), "--model", str(tmp_path / "nothing.gguf"))[2]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    code, _, err = run("import", str(file), "--model", str(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "--layers" in err
