"""The line is bounded, and says when a place is likely to be free."""

from __future__ import annotations

import pytest

from casspec.server.errors import ApiError
from casspec.server.gate.admission import Admission


def test_texts_are_taken_up_to_the_bound() -> None:
    admission = Admission(2, 3)
    admission.enter(2)
    admission.enter(3)
    with pytest.raises(ApiError) as full:
        admission.enter(1)
    assert (full.value.status, full.value.code, admission.n_open) == (429, "queue_full", 5)
    admission.leave(2, 1.0)
    admission.enter(2)


def test_what_never_fits_is_refused_for_good() -> None:
    with pytest.raises(ApiError) as refusal:
        Admission(2, 3).enter(6)
    assert (refusal.value.status, refusal.value.code) == (400, "too_many_texts")


def test_a_client_is_told_to_come_when_texts_have_ended() -> None:
    admission = Admission(2, 100)
    assert admission.retry_after_s == 1
    for _ in range(200):
        admission.enter(1)
        admission.leave(1, 10.0)
    admission.enter(12)
    assert admission.retry_after_s == 50
    admission.enter(80)
    assert admission.retry_after_s == 60
