"""What every export does: it says what is lost, or refuses."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given

from casspec.storage.errors import UnsupportedOption
from casspec.storage.export import MODULES, exporter
from casspec.storage.schema import CascadeProfile, DrafterSpec, Precision, Quantization, SkipSet
from tests.storage import samples

SELF = DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,)))
INT8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=1000)
LOOKUP = DrafterSpec(name="prompt-lookup", kind="prompt-lookup", parameters={"max_ngram": 5, "n_tokens": 7})


@pytest.mark.parametrize("target", ["huggingface", "vllm", "skip-layers"])
def test_exports_to_engines_say_what_is_lost(target: str) -> None:
    exported = exporter(target)(samples.profile(drafters=(SELF, LOOKUP)))
    assert exported.fidelity == "partial"
    assert "Lost:" in exported.note
    assert json.loads(exported.text)


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
