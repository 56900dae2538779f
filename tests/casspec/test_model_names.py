"""Names that casspec gives models, and where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec import model_names
from casspec.model_names import directory_of, place_of
from casspec.reference import reference_path
from casspec.storage.errors import UnknownModel
from casspec.storage.folders import user_cache_directory


def test_a_path_or_a_name_on_the_hub_stands_for_itself(tmp_path: Path) -> None:
    assert directory_of(tmp_path) is None
    assert directory_of("some/name") is None
    assert place_of(tmp_path) == tmp_path
    assert place_of("~/model.gguf") == Path.home() / "model.gguf"


def test_the_reference_is_there_and_the_others_are_made_where_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert directory_of("reference") == place_of("reference") == reference_path()
    monkeypatch.setattr(model_names, "cached_testbed", lambda hidden: Path(f"made-{hidden}"))
    monkeypatch.setattr(model_names, "cached_smollm2", lambda name: Path(f"made-{name}"))
    assert [str(directory_of(name)) for name in ("testbed:512", "smollm2", "smollm2-dithered")] == [
        "made-512",
        "made-smollm2",
        "made-smollm2-dithered",
    ]
    places = {place_of(name) for name in ("testbed:512", "smollm2", "smollm2-dithered")}
    assert len(places) == 3
    assert {place.parent for place in places} == {user_cache_directory()}


def test_a_testbed_that_cannot_be_is_refused_before_anything_is_made() -> None:
    for ask in (directory_of, place_of):
        with pytest.raises(UnknownModel, match="is no testbed"):
            ask("testbed:wide")
