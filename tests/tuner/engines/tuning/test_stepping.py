"""Steps of an engine that runs, and how many tokens are asked for meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.endpoint import Endpoint
from casspec.tuner.engines.known.vllm import Vllm
from casspec.tuner.engines.tuning import stepping
from casspec.tuner.engines.tuning.session import Session
from casspec.tuner.engines.tuning.starting import Instance
from casspec.tuner.engines.tuning.workload import TokenRequest, Workload
from tests.tuner.engines.tuning.made_up import session


def test_a_context_that_is_too_short_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def none(session: Session, instance: Instance, requests: object, tokens: int) -> tuple[float, float]:
        asked.append(tokens)
        return 1.0, 0.0

    monkeypatch.setattr(stepping, "_steps", none)
    instance = Instance(Vllm(), Endpoint("http://127.0.0.1:1"), "m", 0.0)
    with session(tmp_path) as made:
        for context, tried, words in (
            (None, [64, 128, 256], "its metrics lag behind"),
            (105, [64, 100], "a context of 105 tokens is too short"),
            (20, [], "give a --max-model-len of 21 or more"),
        ):
            asked.clear()
            made.workload = replace(made.workload, max_context=context)
            with pytest.raises(EngineError, match=words):
                stepping.step_ms(made, instance, 2)
            assert asked == tried


def test_prompts_that_leave_room_are_chosen_before_others() -> None:
    short, long = TokenRequest("short", "t", (1,) * 5), TokenRequest("long", "t", (1,) * 80)
    asked = stepping._asked_at_a_point(Workload((long, short), 20, max_context=300), 2)
    assert asked == [short, short]
    assert stepping._asked_at_a_point(Workload((long, short), 20, max_context=200), 2) == [long, short]
