"""Requests that are alive at the same time do not know of each other, whatever method decodes them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.runtime.session import Listener, Session, Workplace
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target

RUNNING = [m for m in METHODS if m != "quantised" or tiny_target().refusal(Precision.INT8_DYNAMIC) is None]
REQUESTS: tuple[tuple[list[int], dict[str, Any]], ...] = (
    (repetitive_prompt(40, seed=1), {"max_new_tokens": 30}),
    (repetitive_prompt(23, seed=2), {"max_new_tokens": 18, "temperature": 0.8, "seed": 4}),
    (repetitive_prompt(31, seed=3), {"max_new_tokens": 25, "repetition_penalty": 1.3}),
    (repetitive_prompt(40, seed=1), {"max_new_tokens": 22, "temperature": 1.0, "seed": 4, "frequency_penalty": 0.4}),
)


@cache
def target_of() -> TargetModel:
    return tiny_target("qwen2", seed=7)


@cache
def profile_of() -> LoadedProfile:
    return tiny_profile(target_of())


@pytest.mark.parametrize("method", RUNNING)
def test_sessions_step_by_turns_as_each_would_alone(method: str) -> None:
    decoder = Decoder(target_of(), profile_of(), method)
    alone = [Decoder(target_of(), profile_of(), method).generate(prompt, **options) for prompt, options in REQUESTS]
    sessions = [decoder.session(prompt, **options) for prompt, options in REQUESTS]
    with torch.inference_mode():
        while any(not session.is_over for session in sessions):
            for session in sessions:
                if not session.is_over:
                    session.step()
    for session, expected in zip(sessions, alone, strict=True):
        found = session.finish()
        assert found.token_ids == expected.token_ids
        assert found.finish_reason == expected.finish_reason
        if method != "dytc":  # whose choices follow measured times
            assert found.statistics.drafted_by == expected.statistics.drafted_by


def test_a_session_tells_its_listener_and_can_be_left_early() -> None:
    heard: list[int] = []
    decoder = Decoder(target_of(), profile_of())
    session = decoder.session(REQUESTS[0][0], listener=Listener(on_tokens=heard.extend), max_new_tokens=30)
    with torch.inference_mode():
        emitted = [*session.step(), *session.step()]
    found = session.finish()
    assert found.token_ids == heard == emitted
    assert found.statistics.verify_steps == 2
    with pytest.raises(UnsupportedOption, match="at least one token"):
        decoder.session([1, 2], max_new_tokens=0)


@pytest.mark.parametrize("method", RUNNING)
def test_a_policy_that_stays_in_step_goes_on_where_it_was(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps without drafts verify the root alone; the policy is told of them, and never begins anew."""
    prompt, options = REQUESTS[1]
    decoder = Decoder(target_of(), profile_of(), method)
    expected = decoder.generate(prompt, **options)
    text, policy = decoder.planned(prompt, Listener(), **options), decoder._policy("sample").fork()
    pattern = iter([True, False, False, True, False] * 10)
    asked, begun, began = list[bool](), list[int](), policy.begin

    def drafts() -> bool:
        asked.append(next(pattern))
        return asked[-1]

    monkeypatch.setattr(policy, "begin", lambda sequence: (begun.append(len(sequence.tokens)), began(sequence)))
    cache = target_of().new_cache(text.n_rows)
    place = Workplace(target_of(), policy, method, cache, drafts=drafts, stays_in_step=lambda: True)
    with torch.inference_mode():
        session = Session(place, prompt, text.request, text.limit, text.noise, Listener())
        n_emitted = []
        while not session.is_over:
            n_emitted.append(len(session.step()))
    assert session.finish().token_ids == expected.token_ids
    assert begun == [len(prompt)]
    assert all(n == 1 for n, drafted in zip(n_emitted, asked, strict=True) if not drafted)


def test_logprobs_are_told_as_tokens_come() -> None:
    heard: list[int] = []
    listener = Listener(on_logprobs=lambda told: heard.extend(one.token for one in told))
    decoder = Decoder(target_of(), profile_of(), "dytc")
    (text,) = decoder.samples(REQUESTS[0][0], 1, max_new_tokens=30, logprobs=2, listener=listener)
    assert heard == text.token_ids == [one.token for one in text.logprobs]
    decoder.samples(REQUESTS[0][0], 1, max_new_tokens=5, listener=listener)
    assert len(heard) == 30, "none are told that nobody asked for"
