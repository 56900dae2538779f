from __future__ import annotations

from pathlib import Path

import pytest

from casspec.hub.allowed import AllowedModels
from casspec.storage.errors import UnsupportedOption


@pytest.fixture
def allowed(tmp_path: Path) -> AllowedModels:
    for name in ("models/tiny", "secret/model", "models2/tiny"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "link").symlink_to(tmp_path / "secret" / "model")
    (tmp_path / "models" / "circle").symlink_to(tmp_path / "models" / "circle")
    return AllowedModels(("Qwen/Qwen3-0.6B",), (tmp_path / "models",))


@pytest.mark.parametrize("model", ["reference", "smollm2", "Qwen/Qwen3-0.6B"])
def test_names_are_allowed_one_by_one(allowed: AllowedModels, model: str) -> None:
    assert allowed.located(model) == model


@pytest.mark.parametrize("model", ["tiny", "./tiny", "{}/models/tiny"])
def test_what_lies_in_a_directory_is_allowed(allowed: AllowedModels, tmp_path: Path, model: str) -> None:
    assert allowed.located(model.format(tmp_path)) == str(tmp_path / "models" / "tiny")


@pytest.mark.parametrize(
    "model",
    [
        "../secret/model",
        "tiny/../../secret/model",
        "{}/secret/model",
        "{}/models2/tiny",
        "link",
        "{}/models",
        ".",
        "",
        "..",
        "/etc/passwd",
        "qwen/qwen3-0.6b",
        "testbed:8192",
        "absent",
        "tiny + link",
        "tiny\0",
        "~/model",
        "a" * 1000,
        "circle",
        "\ud800",
    ],
)
def test_nothing_else_is(allowed: AllowedModels, tmp_path: Path, model: str) -> None:
    with pytest.raises(UnsupportedOption, match="is not allowed here"):
        allowed.located(model.format(tmp_path))
