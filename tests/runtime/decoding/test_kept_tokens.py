"""What the best tokens of a row show is what sorting all of it shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from casspec.runtime.decoding.kept_tokens import kept
from casspec.runtime.text.sampling import Sampling

VOCAB = 300
SAMPLINGS = (
    Sampling(0.7, top_k=20),
    Sampling(1.0, top_k=64),
    Sampling(1.0, top_k=5000),
    Sampling(0.7, top_p=0.9),
    Sampling(1.5, top_p=0.5),
    Sampling(1.0, min_p=0.05),
    Sampling(0.8, top_k=30, top_p=0.8),
    Sampling(1.0, top_p=0.95, min_p=0.02),
    Sampling(1.0, top_k=40, top_p=0.9, min_p=0.1),
    Sampling(1.0, top_p=1.0),
)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("n", [8, 64, VOCAB])
def test_the_best_tokens_show_where_the_row_ends_or_say_that_they_do_not(sampling: Sampling, n: int) -> None:
    shown = 0
    for seed in range(40):
        logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(seed)) * (1 + seed % 7)
        scores = sampling.scores(logits)[0]
        expected = int((scores > -torch.inf).sum())
        ranked = (logits[0] / sampling.temperature).sort(descending=True).values.numpy()
        total = float(np.exp(ranked.astype(np.float64) - ranked[0]).sum())
        places = kept(ranked[:n], total, sampling, VOCAB)
        found = None if places is None else len(places)
        assert found in (expected, None)
        shown += found is not None
        alone = sum(limit is not None for limit in (sampling.top_k, sampling.top_p, sampling.min_p)) == 1
        assert found == expected or expected >= n or not alone
    assert shown == 40 or n < VOCAB


def test_equals_of_the_last_one_stay() -> None:
    scores = np.array([3.0, 2.0, 2.0, 2.0, 1.0], np.float32)
    assert kept(scores, 9.0, Sampling(1.0, top_k=2), 100).tolist() == [0, 1, 2, 3]
    assert kept(scores[:4], 9.0, Sampling(1.0, top_k=2), 100) is None


def test_of_equals_top_p_leaves_out_the_lower_tokens_first() -> None:
    """As the library does on a processor, whose sort keeps their order."""
    logits = torch.tensor([[1.0, 3.0, 1.0, 1.0, 0.0, 1.0]])
    sampling = Sampling(1.0, top_p=0.85)
    left = (sampling.scores(logits)[0] > -torch.inf).nonzero().flatten().tolist()
    ranked, order = logits[0].sort(descending=True, stable=True)
    total = float((ranked - ranked[0]).exp().sum())
    places = kept(ranked.numpy(), total, sampling, 6)
    assert sorted(order[places].tolist()) == left == [1, 2, 3, 5]
