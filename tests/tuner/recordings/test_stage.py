"""Which prompts a calibration records."""

from __future__ import annotations

from collections import Counter

import pytest

from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.tuner.recordings.stage import chosen_prompts
from tests.tuner.small_calibration import SETTINGS, SUITE, small_target


def test_prompts_come_from_every_task_of_the_tuning_half_and_must_fit() -> None:
    target = small_target()
    chosen = [prompt for prompt, _ in chosen_prompts(SUITE, target, SETTINGS.record)]
    assert {prompt.half for prompt in chosen} == {"tuning"}
    assert Counter(prompt.task for prompt in chosen) == {"count": 2, "skip": 1}
    with pytest.raises(SuiteError, match="fits the model's context of 1024"):
        chosen_prompts(SUITE, target, SETTINGS.record.model_copy(update={"tokens": 1022}))
    target.tokenizer = None
    with pytest.raises(UnsupportedModel, match="has no tokenizer"):
        chosen_prompts(SUITE, target, SETTINGS.record)
