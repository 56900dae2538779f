"""Probabilities told of a token."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.text.logprobs import token_logprobs


def test_both_distributions_are_told_and_what_may_not_come_is_left_out() -> None:
    raw, scores = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([-torch.inf, 3.0, 1.0, -torch.inf])
    told = token_logprobs(2, raw, scores, 3)
    assert told.logprob == pytest.approx(float(scores.log_softmax(-1)[2]))
    assert told.raw_logprob == pytest.approx(float(raw.log_softmax(-1)[2]))
    assert [token for token, _ in told.top] == [1, 2]
    assert [token for token, _ in told.raw_top] == [0, 1, 2]
    assert sum(torch.tensor([value for _, value in told.top]).exp()) == pytest.approx(1.0)
