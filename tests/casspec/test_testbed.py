"""The widened reference: the same function, silent additions, honest weights, and files that are whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

import casspec
from casspec import testbed
from casspec.known_models import KnownModel, recall, remember
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import StorageError, UnknownModel
from tests.storage import samples

HIDDEN = 512
TEXT = "def read(self, path):\n    with open(path) as file:\n        return {'name': file.name, "


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def wide(cache: Path) -> TargetModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(testbed, "SHARD_BYTES", 40 << 20)
        return casspec.load_target(f"testbed:{HIDDEN}", dtype="float32")


@torch.inference_mode()
def logits(target: TargetModel) -> torch.Tensor:
    return target.library_model(torch.tensor([target.tokenizer(TEXT)["input_ids"]])).logits[0]


def test_a_testbed_computes_the_references_logits(wide: TargetModel) -> None:
    expected = logits(casspec.load_target("reference", dtype="float32"))
    assert (logits(wide) - expected).abs().max() < 1e-4
    assert (wide.name, wide.hidden_size, wide.lean.sizes.head_dim, wide.lean.sizes.heads) == (
        f"testbed:{HIDDEN}",
        HIDDEN,
        64,
        8,
    )
    assert wide.lean.sizes.intermediate == 2 * 704


def test_added_weights_have_the_spread_of_the_real_ones(wide: TargetModel) -> None:
    layer = wide.library_model.model.layers[5]
    for linear in (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp.up_proj, layer.mlp.down_proj):
        rows, columns = (size // 2 for size in linear.weight.shape)
        real, right, corner = (
            linear.weight[:rows, :columns],
            linear.weight[:rows, columns:],
            linear.weight[rows:, columns:],
        )
        assert right.std() == pytest.approx(float(real.std()), rel=0.02)
        assert corner.std() == pytest.approx(float(real.std()), rel=0.02)


def test_a_testbed_is_loaded_in_its_own_precision_and_made_only_once(
    wide: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testbed, "widen", lambda *_: pytest.fail("made again"))
    assert casspec.load_target(f"testbed:{HIDDEN}").dtype == torch.bfloat16


def test_large_testbeds_come_in_shards_that_are_all_named(wide: TargetModel) -> None:
    directory = testbed.testbed_path(HIDDEN)
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    shards = {file.name for file in directory.glob("*.safetensors")}
    assert set(index["weight_map"].values()) == shards
    assert len(shards) > 1


def test_sizes_are_those_of_the_models_they_stand_for() -> None:
    assert testbed.wide_config(1536)["intermediate_size"] == 4224
    assert testbed.wide_config(4096)["intermediate_size"] == 11008
    assert testbed.checkpoint_bytes(testbed.wide_config(1536)) == pytest.approx(0.706e9, rel=0.01)


@pytest.mark.parametrize("name", ["testbed:", "testbed:wide", "testbed:256", "testbed:1000", "testbed:-512"])
def test_widths_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(UnknownModel, match="expected"):
        casspec.load_target(name)


def test_what_was_interrupted_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed, "_write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        testbed.widen(320, tmp_path / "wide")
    assert list(tmp_path.iterdir()) == []


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_killed_process_left_is_removed_in_time(tmp_path: Path) -> None:
    old, fresh = (tmp_path / f".wide.{process}.partial" for process in (1, 2))
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (0, 0))
    testbed.widen(320, tmp_path / "wide")
    assert {entry.name for entry in tmp_path.iterdir()} == {"wide", fresh.name}


def test_a_full_disk_and_a_cache_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match=r"cannot be written to .*: File exists"):
        testbed.widen(320, file / "wide")
    monkeypatch.setattr(testbed, "_write", out_of_space)
    with pytest.raises(StorageError, match="No space left"):
        testbed.widen(320, tmp_path / "wide")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(StorageError, match=r"takes 0\.0 GB"):
        testbed.widen(320, tmp_path / "wide")
    assert list(tmp_path.iterdir()) == [file]


def out_of_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_only_a_testbed_is_replaced_and_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StorageError, match="something else"):
        testbed.widen(320, tmp_path, force=True)
    directory = tmp_path / "wide"
    testbed.widen(320, directory)
    with pytest.raises(StorageError, match="--force"):
        testbed.widen(320, directory)
    (directory / "testbed.json").write_text("{}")
    testbed.widen(320, directory, force=True)
    assert json.loads((directory / "testbed.json").read_text())["hidden"] == 320


def test_its_fingerprint_is_remembered_like_any_other_models(wide: TargetModel) -> None:
    remember(wide.name, "auto", "auto", KnownModel(samples.model(), "bfloat16", "lean", False))
    assert recall(wide.name, "auto", "auto") == (samples.model(), "bfloat16", "lean", False)
    assert recall("testbed:640", "auto", "auto") is None
