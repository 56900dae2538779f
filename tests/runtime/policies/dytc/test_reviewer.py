"""Self-drafters inside dytc: what they say counts for the tree they said it of, and for no other."""

from dataclasses import replace

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.dytc import DyTC
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target


def test_a_step_without_room_to_draft_leaves_nothing_said(monkeypatch):
    """The last token of a text is verified alone: words of the tree before are no trials of it."""
    target = tiny_target()
    said = []

    def draft(policy, sequence, max_depth):
        tree = drafted(policy, sequence, max_depth)
        said.append((max_depth, sum((reviewer.said[:, 0, 0] >= 0).sum() for reviewer in policy._reviewers)))
        return tree

    drafted = DyTC.draft
    monkeypatch.setattr(DyTC, "draft", draft)
    decoder = Decoder(target, tiny_profile(target), "dytc")
    for n_tokens in range(1, 12):
        decoder.generate(repetitive_prompt(20), max_new_tokens=n_tokens)
    assert [words for depth, words in said if depth == 0]
    assert all(words == 0 for depth, words in said if depth == 0)
    assert any(words for depth, words in said if depth)


def test_a_text_shows_what_rounds_of_review_bring():
    """A plan that says what the target says brings more tokens a round than one that knows nothing, and dytc learns it."""
    target = tiny_target()

    def learned(agrees: bool) -> float:
        decoder = Decoder(target, tiny_profile(target), "dytc", {"correct_latency": False})
        policy = decoder._policy("greedy")
        (reviewer, *_) = policy._reviewers
        policy._reviewers = [reviewer]
        said = reviewer.propose

        def wrong(*asked):
            tokens, scores = said(*asked)
            return (tokens + 1) % target.vocab_size, scores

        if not agrees:
            reviewer.propose = wrong
        else:
            reviewer.plan = replace(target.full_plan, name=reviewer.plan.name)
        decoder.generate(repetitive_prompt(20), max_new_tokens=60)
        return policy._brought / policy._expected

    assert learned(agrees=True) > learned(agrees=False)


def test_its_best_tokens_are_trials_of_a_text():
    """One that says what the target says is always right; of a text it reviews no more positions than there are."""
    target = tiny_target()
    decoder = Decoder(target, tiny_profile(target), "dytc", {"correct_latency": False})
    policy = decoder._policy("greedy")
    (reviewer, *_) = policy._reviewers
    policy._reviewers = [reviewer]
    reviewer.plan = replace(target.full_plan, name=reviewer.plan.name)
    statistics = decoder.generate(repetitive_prompt(20), max_new_tokens=60).statistics
    assert 0 < statistics.trials_by[reviewer.name] <= 60
    assert statistics.right_by[reviewer.name] == statistics.trials_by[reviewer.name]
    assert (reviewer.trials, reviewer.right) == (0, 0)
