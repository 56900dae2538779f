"""Requests: whole, each its own, the same for every server."""

from __future__ import annotations

import pytest

from benchmarks.load.asked import CONTEXT_STEP, Turn, body, fitting, turns
from casspec.server.api.chat import ChatRequest
from casspec.storage.errors import SuiteError
from casspec.storage.schema import Mode
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Prompt
from tests.casspec.server.serving import target_of

PROMPTS = load_suite("chat").half("reporting")[:5]
MODES: list[Mode] = ["sample", "greedy"]


def all_turns() -> list[Turn]:
    return list(turns(PROMPTS, MODES, {1: 3, 4: 8}, rounds=2, n_tokens=6, seed=0))


def test_the_first_turns_warm_up_and_rounds_have_every_load_in_every_mode() -> None:
    found = [(turn.round, turn.mode, turn.clients, len(turn.bodies)) for turn in all_turns()]
    assert found[:2] == [(0, "sample", 4, 4), (0, "greedy", 4, 4)]
    in_a_round = [("sample", 1, 3), ("sample", 4, 8), ("greedy", 1, 3), ("greedy", 4, 8)]
    assert found[2:] == [(which, *each) for which in (1, 2) for each in in_a_round]


def test_no_conversation_begins_like_another() -> None:
    bodies = [each for turn in all_turns() for each in turn.bodies]
    openings = [each["messages"][0]["content"] for each in bodies]
    assert len(set(openings)) == len(bodies)
    assert len({len(opening) for opening in openings}) == 1


def test_the_order_follows_from_the_seed() -> None:
    assert all_turns() == all_turns()


@pytest.mark.parametrize(("mode", "temperature"), [("greedy", 0.0), ("sample", 0.7)])
def test_our_own_server_takes_the_request(mode: Mode, temperature: float) -> None:
    taken = ChatRequest.model_validate(body(PROMPTS[0], 100_000, mode, 6))
    assert (taken.temperature, taken.max_tokens, taken.ignore_eos) == (temperature, 6, True)


def test_prompts_without_room_are_left_out() -> None:
    tokenizer = target_of().tokenizer
    long = PROMPTS[0].model_copy(update={"id": "long", "turns": ("word " * 4000,)})
    found, context = fitting([long, *PROMPTS], tokenizer, 6, 4000)
    assert list(found) == list(PROMPTS)
    assert context % CONTEXT_STEP == 0
    with pytest.raises(SuiteError, match="leaves room for 6"):
        fitting([long], tokenizer, 6, 100)


def test_a_prompt_keeps_its_own_system_message() -> None:
    own: Prompt = PROMPTS[0].model_copy(update={"system": "Be brief."})
    assert body(own, 100_000, "greedy", 6)["messages"][0]["content"] == "Be brief. Conversation 100000."
