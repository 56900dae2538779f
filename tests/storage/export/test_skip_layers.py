"""Skip layers as a file: written, read back, checked against the model."""

from __future__ import annotations

import json

import pytest

from casspec.storage.errors import MalformedFile, UnsupportedOption
from casspec.storage.export import exporter, skip_layers
from casspec.storage.schema import DrafterSpec, Precision, Quantization, SkipSet
from tests.storage import samples

SELF = DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,)))
INT8 = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=1000)
LOOKUP = DrafterSpec(name="prompt-lookup", kind="prompt-lookup", parameters={"max_ngram": 5, "n_tokens": 7})


@pytest.mark.parametrize("drafter", [LOOKUP, DrafterSpec(name="int8", kind="self", quantization=INT8)])
def test_a_cascade_that_skips_nothing_has_no_skip_layers(drafter: DrafterSpec) -> None:
    with pytest.raises(UnsupportedOption, match="skips no layers"):
        exporter("skip-layers")(samples.profile(drafters=(drafter,)))


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
