"""A request from options by name."""

from __future__ import annotations

import pytest

from casspec.runtime.text.adjustments import Adjustments
from casspec.runtime.text.request import OPTIONS, Request
from casspec.runtime.text.sampling import Sampling
from casspec.storage.errors import UnsupportedOption


def test_options_find_their_place_and_none_is_the_default() -> None:
    request = Request.of(temperature=0.7, top_k=None, repetition_penalty=1.1, stop="end", max_new_tokens=None)
    assert request.sampling == Sampling(0.7)
    assert request.adjustments == Adjustments(repetition_penalty=1.1)
    assert (request.stop, request.max_new_tokens) == (("end",), 128)
    assert Request.of() == Request()
    assert {"seed", "min_p", "bad_words", "ignore_eos"} <= OPTIONS


def test_ends_are_the_models_own_unless_told_otherwise() -> None:
    assert Request().ends((7, 8)) == {7, 8}
    assert Request(ignore_eos=True).ends((7, 8)) == set()
    assert Request(stop_token_ids=(3,)).ends((7, 8)) == {3}


def test_rows_are_looked_at_only_where_something_needs_them() -> None:
    assert not Request.of(temperature=0.7, top_p=0.9, stop="x", seed=3).looks_at_rows
    for option in ({"presence_penalty": 1.0}, {"logprobs": 0}, {"keep_scores": True}, {"processors": [max]}):
        assert Request.of(**option).looks_at_rows


def test_an_unknown_option_is_told_with_those_there_are() -> None:
    with pytest.raises(UnsupportedOption, match=r"no option top_q; options: .*top_p"):
        Request.of(top_q=1)
