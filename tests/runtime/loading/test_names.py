"""Names of models with an adapter in them load both again."""

from __future__ import annotations

from pathlib import Path

from casspec.runtime.loading.names import named, parted


def test_a_name_and_its_parts_say_the_same() -> None:
    assert named("smollm2", None) == "smollm2"
    assert named("smollm2", Path("tuned/lora")) == "smollm2 + tuned/lora"
    assert parted("smollm2 + tuned/lora") == ("smollm2", "tuned/lora")
    assert parted("smollm2") == ("smollm2", None)
    assert parted(Path("here/model")) == ("here/model", None)


def test_a_path_that_exists_is_a_model_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "this + that").mkdir()
    assert parted(tmp_path / "this + that") == (str(tmp_path / "this + that"), None)
    assert parted(f"{tmp_path}/this + that + lora") == (f"{tmp_path}/this + that", "lora")


def test_an_adapter_whose_path_looks_like_two_is_found(tmp_path: Path) -> None:
    (tmp_path / "this + that").mkdir()
    name = named("smollm2", tmp_path / "this + that")
    assert parted(name) == ("smollm2", f"{tmp_path}/this + that")
