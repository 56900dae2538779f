"""Temperature, top-k and top-p are the library's own, element by element."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from casspec.runtime.text.sampling import Sampling
from casspec.storage.errors import UnsupportedOption

ROUNDING = 1e-5


def library_scores(logits: torch.Tensor, temperature: float, top_k: int | None, top_p: float | None) -> torch.Tensor:
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p is not None and 0 < top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return scores


def scores_before(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Nothing left out."""
    return Sampling(temperature).scores(logits)


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 3.0),
    st.none() | st.integers(1, 40),
    st.none() | st.floats(0.01, 1.0),
    st.booleans(),
)
def test_scores_equal_the_library_warpers(
    seed: int, temperature: float, top_k: int | None, top_p: float | None, ties: bool
) -> None:
    logits = torch.randn(6, 29, generator=torch.Generator().manual_seed(seed)) * 3
    if ties:
        logits = logits.round()
    given_logits = logits.clone()
    scores = Sampling(temperature, top_k, top_p).scores(logits)
    assert torch.equal(logits, given_logits)
    kept = scores.isfinite()
    torch.testing.assert_close(scores[kept], (logits / temperature)[kept])
    # A token whose cumulative probability is top_p to the last digit may fall on either side.
    fewest, most = (
        library_scores(logits, temperature, top_k, top_p and top_p + shift).isfinite()
        for shift in (-ROUNDING, ROUNDING)
    )
    # Which of equal tokens stay is up to the order a sort leaves them in; ours is stable.
    counts = [stays.sum(-1) for stays in (fewest, kept, most)]
    assert (counts[0] <= counts[1]).all()
    assert (counts[1] <= counts[2]).all()
    least_kept = scores.masked_fill(~kept, torch.inf).amin(-1)
    assert not ((scores_before(logits, temperature) > least_kept[:, None]) & ~kept).any()


@given(st.integers(0, 2**32 - 1), st.none() | st.integers(1, 40), st.none() | st.floats(0.01, 1.0))
def test_tokens_are_the_best_of_scores_and_noise(seed: int, top_k: int | None, top_p: float | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, noise = torch.randn(5, 29, generator=generator) * 3, torch.randn(5, 29, generator=generator)
    sampling = Sampling(0.7, top_k, top_p)
    chosen = (sampling.scores(logits) + noise)[range(5), sampling.tokens(logits, noise)]
    torch.testing.assert_close(chosen, (sampling.scores(logits) + noise).max(-1).values)


def test_greedy_takes_the_best_logit_whatever_else_is_set() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    assert Sampling(0.0, 2, 0.5).tokens(logits, None).tolist() == [1]
    assert torch.equal(Sampling().scores(logits), logits)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": 1.0, "top_k": 0},
        {"temperature": 1.0, "top_p": 0.0},
        {"temperature": 1.0, "top_p": 1.5},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UnsupportedOption, match=list(wrong)[-1]):
        Sampling(**wrong)
