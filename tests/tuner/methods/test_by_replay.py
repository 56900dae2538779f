"""Retrieval methods tuned by replay."""

from __future__ import annotations

import pytest

from casspec.tuner.methods.by_replay import REPLAYED, replayable_settings
from casspec.tuner.methods.grids import GRIDS, published_setting


@pytest.mark.parametrize("method", REPLAYED)
def test_replay_tries_each_setting_of_the_axes_it_can_judge_once(method: str) -> None:
    settings = replayable_settings(method)
    published = published_setting(method)
    assert settings[0] == {axis: published[axis] for axis in REPLAYED[method]}
    assert all(set(setting) == set(REPLAYED[method]) for setting in settings)
    assert len({tuple(setting.items()) for setting in settings}) == len(settings)
    for axis in REPLAYED[method]:
        assert {setting[axis] for setting in settings} >= set(GRIDS[method][axis])
