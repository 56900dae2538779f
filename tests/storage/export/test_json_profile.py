from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given

from casspec.storage.errors import CasspecError, MalformedFile, ProfileNotFound, UnsupportedOption
from casspec.storage.export import MODULES, exporter, json_profile, skip_layers
from casspec.storage.schema import (
    Artifact,
    CascadeProfile,
    DrafterSpec,
    MethodSettings,
    Precision,
    Quantization,
    SkipSet,
)
from tests.storage import samples

SELF = DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,)))
INT8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=1000)
LOOKUP = DrafterSpec(name="prompt-lookup", kind="prompt-lookup", parameters={"max_ngram": 5, "n_tokens": 7})


def test_json_carries_the_whole_profile(tmp_path: Path) -> None:
    profile = samples.profile()
    exported = exporter("json")(profile)
    file = tmp_path / "profile.json"
    file.write_text(exported.text)
    assert exported.fidelity == "full"
    assert json_profile.read(file) == profile


@pytest.mark.parametrize("target", ["huggingface", "vllm", "skip-layers"])
def test_exports_to_engines_say_what_is_lost(target: str) -> None:
    exported = exporter(target)(samples.profile(drafters=(SELF, LOOKUP)))
    assert exported.fidelity == "partial"
    assert "Lost:" in exported.note
    assert json.loads(exported.text)


def test_generation_config_is_understood_by_transformers(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    (tmp_path / "generation_config.json").write_text(exporter("huggingface")(samples.profile()).text)
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.prompt_lookup_num_tokens, config.max_matching_ngram_size) == (10, 3)


def test_vllm_gets_the_lookup_settings_tuned_first_then_the_drafter_s_own() -> None:
    tuned = MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 6, "most_recent": True})
    profile = samples.profile(drafters=(SELF, LOOKUP), methods=(tuned,))
    assert json.loads(exporter("vllm")(profile).text) == {
        "method": "ngram",
        "num_speculative_tokens": 6,
        "prompt_lookup_min": 1,
        "prompt_lookup_max": 5,
    }


@pytest.mark.parametrize("target", ["huggingface", "vllm"])
@pytest.mark.parametrize("changes", [{"decision": "off"}, {"drafters": (SELF,)}])
def test_a_profile_of_which_nothing_would_be_left_is_refused(target: str, changes: dict) -> None:
    with pytest.raises(UnsupportedOption, match="--to json"):
        exporter(target)(samples.profile(**changes))


@pytest.mark.parametrize("drafter", [LOOKUP, DrafterSpec(name="int8", kind="self", quantization=INT8)])
def test_a_cascade_that_skips_nothing_has_no_skip_layers(drafter: DrafterSpec) -> None:
    with pytest.raises(UnsupportedOption, match="skips no layers"):
        exporter("skip-layers")(samples.profile(drafters=(drafter,)))


def test_exports_name_the_precision_they_lose() -> None:
    whole = DrafterSpec(name="int8", kind="self", quantization=INT8)
    light = SELF.model_copy(update={"name": "int8-3a1m", "quantization": INT8})
    profile = samples.profile(drafters=(whole, light, LOOKUP))
    exported = exporter("skip-layers")(profile)
    assert json.loads(exported.text) == {"tiny": {"attention": [2, 3, 5], "mlp": [3]}}
    assert "Lost: precision int8-dynamic of int8-3a1m" in exported.note
    assert "precision" not in exporter("skip-layers")(samples.profile(drafters=(SELF,))).note
    for engine in ("huggingface", "vllm"):
        assert "Lost: drafters int8, int8-3a1m" in exporter(engine)(profile).note
    assert CascadeProfile.model_validate_json(exporter("json")(profile).text) == profile


@given(samples.profiles)
def test_every_export_of_any_profile_is_written_or_refused(profile: CascadeProfile) -> None:
    for target in MODULES:
        with contextlib.suppress(UnsupportedOption):
            assert exporter(target)(profile).text.endswith("\n")


def test_skip_layers_survive_the_way_there_and_back() -> None:
    other = SELF.model_copy(update={"name": "sparse-60", "skip": SkipSet(mlp=(0, 7))})
    exported = exporter("skip-layers")(samples.profile(drafters=(SELF, other, LOOKUP)))
    content = json.loads(exported.text)
    assert skip_layers.is_skip_layers(content)
    assert skip_layers.read(content, 8) == {"tiny_sparse-40": SELF.skip, "tiny_sparse-60": other.skip}


def test_only_chosen_skip_sets_need_to_fit_the_model() -> None:
    content = {"small": {"attention": [1], "mlp": []}, "large": {"attention": [70], "mlp": [3]}}
    assert skip_layers.read(content, 8, ("small",)) == {"small": SkipSet(attention=(1,))}
    with pytest.raises(MalformedFile, match=r"entry large: attention layers \[70\] do not exist"):
        skip_layers.read(content, 8)
    with pytest.raises(MalformedFile, match="no entry other: the file holds small, large"):
        skip_layers.read(content, 8, ("other",))


@pytest.mark.parametrize("entry", [{"attention": ["a"]}, {"mlp": 3}, {"attention": [1], "heads": [2]}])
def test_a_malformed_skip_set_is_named(entry: dict) -> None:
    with pytest.raises(MalformedFile, match="entry broken"):
        skip_layers.read({"broken": entry}, 8)


def broken_latency() -> str:
    """A profile whose latency model lacks a coefficient."""
    content = samples.profile().model_dump(mode="json")
    del content["latency"]["coefficients"][0]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is no JSON"),
        ("[1]", "holds no casspec profile"),
        ('{"schema_version": 99}', "upgrade casspec"),
        ('{"schema_version": 1, "dtype": 3}', "is no valid profile"),
        ('{"schema_version": "x"}', "is no valid profile"),
        (broken_latency(), "is no valid profile, latency: .*as many coefficients"),
    ],
)
def test_files_that_hold_no_profile_are_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    with pytest.raises(MalformedFile, match=expected) as caught:
        json_profile.read(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ProfileNotFound, match="cannot be read"):
        json_profile.read(tmp_path / "nothing.json")


def test_an_artifact_counts_only_with_the_right_bytes(tmp_path: Path) -> None:
    content = b"matrix"
    artifact = Artifact(name="../escape", sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content))
    profile_file = tmp_path / "profile.json"
    assert json_profile.read_artifact(profile_file, artifact) is None
    file = json_profile.artifact_file(profile_file, artifact)
    assert file.parent == tmp_path
    file.write_bytes(content)
    assert json_profile.read_artifact(profile_file, artifact) == content
    file.write_bytes(content[:-1])
    assert json_profile.read_artifact(profile_file, artifact) is None
    with pytest.raises(CasspecError, match="expected a SHA-256"):
        json_profile.artifact_file(profile_file, artifact.model_copy(update={"sha256": "../../etc"}))


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profile.json"
    json_profile.write_whole(file, b"first")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as handle:
            handle.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        json_profile.write_whole(file, b"second")
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]
