"""What is counted of a request."""

from __future__ import annotations

from casspec.runtime.decoding.generation import Statistics


def test_statistics_count_nodes_but_not_roots() -> None:
    statistics = Statistics()
    assert (statistics.mean_acceptance_length, statistics.acceptance_rate) == (0.0, 0.0)
    statistics.count([(["", "a", "a", "b"], [0, 1, 3], [4, 5, 6]), (["", "b"], [0], [7])])
    assert (statistics.verify_steps, statistics.emitted_tokens) == (2, 4)
    assert (statistics.drafted_tokens, statistics.accepted_tokens) == (4, 2)
    assert statistics.accepted_lengths == {3: 1, 1: 1}
    assert statistics.acceptance_by_drafter == {"a": 0.5, "b": 0.5}
    assert (statistics.mean_acceptance_length, statistics.acceptance_rate) == (2.0, 0.5)


def test_trials_add_up_by_drafter() -> None:
    statistics = Statistics()
    statistics.count_trials({"int4": (10, 9), "prompt-lookup": (4, 0)})
    statistics.count_trials({"int4": (5, 5)})
    assert statistics.trials_by == {"int4": 15, "prompt-lookup": 4}
    assert (statistics.right_by["int4"], statistics.right_by["prompt-lookup"]) == (14, 0)
