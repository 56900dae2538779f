"""Text in pieces ends where the whole text would, and nothing told of it is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.text.stopping import StoppedText


class Letters:
    """A token is one or two letters."""

    pieces = ("a", "b", "c", "ab", "bc", "ca")

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(self.pieces[token] for token in tokens)


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_a_text_ends_before_the_first_string_that_is_complete(tokens: list[int], stops: list[str]) -> None:
    text, told, over = StoppedText(Letters(), [], stops), [""], False
    for count, token in enumerate(tokens, start=1):
        over = text.push(token)
        assert text.text.startswith(told[-1]), "what was told stays"
        told.append(text.text)
        so_far = Letters().decode(tokens[:count])
        assert over == any(stop in so_far for stop in stops)
        if over:
            break
    text.finish()
    whole = Letters().decode(tokens)
    complete = [(whole.index(stop) + len(stop), whole.index(stop)) for stop in stops if stop in whole]
    assert text.text == (whole[: min(complete)[1]] if over else whole)
    assert (text.stopped_by is not None) == over


def test_what_may_become_a_stop_string_is_held_back() -> None:
    text = StoppedText(Letters(), [], ["abca"])
    told = []
    for token in (2, 0, 1, 2, 1):  # c a b c b
        text.push(token)
        told.append(text.text)
    assert told == ["c", "c", "c", "c", "cabcb"]


@pytest.mark.parametrize("stops", [(), ("zz",)])
def test_without_a_match_the_text_is_all_of_it(stops: tuple[str, ...]) -> None:
    text = StoppedText(Letters(), [], stops)
    assert not any(text.push(token) for token in (3, 4, 5))
    text.finish()
    assert text.text == "abbcca"
