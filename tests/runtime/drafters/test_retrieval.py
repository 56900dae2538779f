"""What retrieval offers after a match, and when it falls back on means."""

from __future__ import annotations

from casspec.runtime.decoding.acceptance import AcceptanceTable, retrieval_prior_means
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval


def test_one_matching_token_offers_the_mean_and_a_longer_match_its_place() -> None:
    retrieval = Retrieval(AcceptanceTable("retrieval", retrieval_prior_means()), MeanRecycling(), 4, 1)
    # After 1 the target says 2 twice, then 3 once, surely each time; 4 1 stood where it said 2.
    text = [4, 1, 9, 1, 8, 1, 7]
    says = {1: 2, 3: 2, 5: 3}
    rows = [[says.get(place, 11), 12] for place in range(len(text) - 1)]
    retrieval.begin(text, (rows, [[5.0, 0.0]] * len(rows)))
    for suffix, best in (((6, 6, 6, 1), 2), ((6, 8, 1), 3), ((6, 4, 1), 2)):
        offered = retrieval.offer(1, retrieval.match(suffix), None, 1.0)
        assert offered[0][0] == best
