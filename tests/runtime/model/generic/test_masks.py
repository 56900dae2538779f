"""Windows are read off the library's masks, and ours arrive where they belong."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.generic.anatomy import anatomy_of
from casspec.runtime.model.generic.masks import MaskPlan, mask_plan, window_fields
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import WINDOW, tiny_config, tiny_model


@pytest.mark.parametrize(
    ("name", "windows", "kinds"),
    [
        ("llama", (None,) * 4, None),
        ("mistral", (WINDOW,) * 4, None),
        ("gpt_oss", (WINDOW, None) * 2, {"sliding_attention": WINDOW, "full_attention": None}),
        ("olmo3", (WINDOW,) * 3 + (None,), {"sliding_attention": WINDOW, "full_attention": None}),
    ],
)
def test_windows_are_those_of_the_librarys_masks(name: str, windows: tuple[int | None, ...], kinds: object) -> None:
    model = tiny_model(name)
    assert mask_plan(anatomy_of(model), model.config, 256) == MaskPlan(windows, kinds)  # type: ignore[arg-type]


def test_a_window_of_thousands_takes_no_text_of_thousands() -> None:
    model = library_model("mistral", sliding_window=4096, max_position_embeddings=32768)
    assert mask_plan(anatomy_of(model), model.config, 32768).windows == (4096,) * 4


def test_a_window_as_long_as_the_context_is_none() -> None:
    model = library_model("mistral", sliding_window=256)
    assert mask_plan(anatomy_of(model), model.config, 256).windows == (None,) * 4


def test_a_setting_of_a_window_that_no_mask_shows_is_refused() -> None:
    model = tiny_model("llama")
    model.config.hidden_window = 12
    with pytest.raises(UnsupportedModel, match="sets hidden_window = 12, which none of its masks shows"):
        mask_plan(anatomy_of(model), model.config, 256)


def test_settings_that_only_sound_like_windows_are_none() -> None:
    assert window_fields(tiny_config("exaone4"), 256) == {"sliding_window": WINDOW}
    assert window_fields(tiny_config("qwen2"), 256) == {}


def test_masks_are_handed_in_by_kind_of_layer_where_kinds_differ() -> None:
    full, windowed = torch.zeros(1), torch.ones(1)
    masks = {None: full, 9: windowed}
    assert MaskPlan((9, 9), None).handed(masks) is windowed
    assert MaskPlan((None, 9), {"a": None, "b": 9}).handed(masks) == {"a": full, "b": windowed}


def test_kinds_of_layers_that_nothing_tells_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gemma2")
    anatomy = anatomy_of(model)
    config = model.config.__class__.from_dict(model.config.to_dict())
    config.layer_types = None
    with pytest.raises(UnsupportedModel, match=r"see 9 tokens and all tokens, and nothing in its config says which"):
        mask_plan(anatomy, config, 256)
