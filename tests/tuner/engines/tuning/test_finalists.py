"""What is confirmed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.storage.engines.documents import EngineSetting, EngineTrial
from casspec.tuner.engines.known.vllm import BY_BATCH, LENGTH, Vllm
from casspec.tuner.engines.protocol import Abilities
from casspec.tuner.engines.tuning.finalists import MOST_PREDICTED, Finalist, finalists
from tests.tuner.engines.known.test_vllm import ABLE
from tests.tuner.engines.tuning.made_up import CONCURRENCY, ngram, plain_figures

PLAIN = {each: plain_figures(each) for each in CONCURRENCY}
LOOKUP = replace(ABLE, methods=ABLE.methods - {"custom_class"})
FIXED = Abilities("0.20", False, frozenset({"off", "ngram"}))


def trial(concurrency: int, gain: float, shortest: int = 2, longest: int = 4, drafted: int = 4) -> EngineTrial:
    speed = gain * PLAIN[concurrency].tokens_per_second
    return EngineTrial(
        setting=ngram(shortest, longest, drafted),
        concurrency=concurrency,
        status="predicted",
        predicted_tokens_per_second=speed,
    )


def test_each_number_of_requests_has_its_own_draft_length() -> None:
    trials = [trial(1, 1.2), trial(1, 1.5, drafted=8), trial(2, 1.1), trial(2, 0.8, drafted=8)]
    (found,) = finalists(Vllm(), LOOKUP, trials, PLAIN, ())
    assert found.setting.parameters[BY_BATCH] == [[1, 1, 8], [2, 2, 4]]
    assert dict(found.predicted_gain) == pytest.approx({1: 1.5, 2: 1.1})
    assert found.mean_gain == pytest.approx((1.5 * 1.1) ** 0.5)


def test_where_nothing_pays_nothing_is_drafted() -> None:
    (found,) = finalists(Vllm(), LOOKUP, [trial(1, 1.5), trial(2, 0.9)], PLAIN, ())
    assert found.setting.parameters[BY_BATCH] == [[1, 1, 4], [2, 2, 0]]
    assert found.predicted_gain[2] == 1.0
    assert finalists(Vllm(), LOOKUP, [trial(1, 0.9), trial(2, 0.9)], PLAIN, ()) == []


def test_an_engine_with_one_draft_length_gets_the_best_for_all_together() -> None:
    trials = [trial(1, 1.6, drafted=8), trial(2, 0.7, drafted=8), trial(1, 1.3), trial(2, 1.2)]
    (found,) = finalists(Vllm(), FIXED, trials, PLAIN, ())
    assert found.setting == ngram()
    assert found.setting.parameters[LENGTH] == 4


def test_few_are_confirmed_and_no_two_that_do_the_same() -> None:
    trials = []
    for place, longest in enumerate((2, 3, 4, 5, 6, 7)):
        gain = 1.5 if longest < 4 else 1.5 - 0.02 * place
        trials += [trial(each, gain, longest=longest) for each in CONCURRENCY]
    found = finalists(Vllm(), LOOKUP, trials, PLAIN, ())
    assert len(found) == MOST_PREDICTED
    assert [each.setting.parameters["prompt_lookup_max"] for each in found] == [2, 4, 5]


def test_what_the_user_names_is_confirmed_unless_it_has_failed() -> None:
    named = EngineSetting(method="eagle3", parameters={"model": "heads", LENGTH: 3})
    assert finalists(Vllm(), LOOKUP, [], PLAIN, (named,)) == [Finalist(named, {})]
    assert Finalist(named, {}).mean_gain == 0.0
    failed = [EngineTrial(setting=named, concurrency=1, status="failed", reason="no heads")]
    assert finalists(Vllm(), LOOKUP, failed, PLAIN, (named,)) == []


def test_without_timed_steps_short_middle_and_long_drafts_are_confirmed() -> None:
    trials = [
        trial(each, 1.0 + drafted / 10, longest=longest, drafted=drafted).model_copy(
            update={"acceptance_length": 1.0 + drafted / 10}
        )
        for each in CONCURRENCY
        for drafted in range(1, 13)
        for longest in (3, 4)
    ]
    found = finalists(Vllm(), FIXED, trials, PLAIN, (), is_timed=False)
    assert [each.setting.parameters[LENGTH] for each in found] == [12, 8, 4]
    assert all(each.predicted_gain == {} for each in found)
    slow = [each.model_copy(update={"predicted_tokens_per_second": 1.0}) for each in trials]
    assert len(finalists(Vllm(), FIXED, slow, PLAIN, (), is_timed=False)) == MOST_PREDICTED
    useless = [each.model_copy(update={"acceptance_length": 1.0}) for each in trials]
    assert finalists(Vllm(), FIXED, useless, PLAIN, (), is_timed=False) == []


def test_without_timed_steps_no_two_are_of_the_same_n_grams_where_there_are_others() -> None:
    """The estimate may put one long n-gram first at every draft length."""
    trials = [
        trial(each, 1.0 + longest / 10, longest=longest, drafted=drafted).model_copy(update={"acceptance_length": 1.1})
        for each in CONCURRENCY
        for drafted in range(1, 13)
        for longest in (3, 4, 5)
    ]
    found = finalists(Vllm(), FIXED, trials, PLAIN, (), is_timed=False)
    assert sorted(each.setting.parameters["prompt_lookup_max"] for each in found) == [3, 4, 5]
    alone = [each for each in trials if each.setting.parameters["prompt_lookup_max"] == 5]
    assert [
        each.setting.parameters["prompt_lookup_max"]
        for each in finalists(Vllm(), FIXED, alone, PLAIN, (), is_timed=False)
    ] == [5] * 3
