"""An expected text is drafted for as long as the text follows it, and changes no text."""

from __future__ import annotations

import pytest

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.policies.predicted import PREDICTION
from casspec.storage.errors import UnsupportedOption
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target

TARGET = tiny_target("qwen3", seed=7)
PROFILE = tiny_profile(TARGET)
PROMPT = repetitive_prompt(20, seed=3)


@pytest.mark.parametrize("method", ["dytc", "autoregressive", "suffix", "vc-hc"])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_right_prediction_takes_few_steps_and_changes_no_text(method: str, temperature: float) -> None:
    decoder = Decoder(TARGET, PROFILE, method)
    plain = decoder.generate(PROMPT, 60, temperature, seed=1)
    told = decoder.generate(PROMPT, 60, temperature, seed=1, prediction=plain.token_ids)
    assert told.token_ids == plain.token_ids
    assert told.statistics.verify_steps <= 4
    assert told.statistics.accepted_by[PREDICTION] >= 56


@pytest.mark.parametrize("method", ["dytc", "autoregressive"])
def test_a_text_that_leaves_the_prediction_finds_its_way_back(method: str) -> None:
    decoder = Decoder(TARGET, PROFILE, method)
    plain = decoder.generate(PROMPT, 60, 0.9, seed=1)
    expected = plain.token_ids.copy()
    expected[20:23] = [(token + 1) % 31 for token in expected[20:23]]
    told = decoder.generate(PROMPT, 60, 0.9, seed=1, prediction=expected)
    assert told.token_ids == plain.token_ids
    assert told.statistics.accepted_by[PREDICTION] > 40


def test_a_wrong_prediction_costs_no_text() -> None:
    decoder = Decoder(TARGET, PROFILE, "dytc")
    plain = decoder.generate(PROMPT, 40, 0.9, seed=2)
    assert decoder.generate(PROMPT, 40, 0.9, seed=2, prediction=[5] * 40).token_ids == plain.token_ids


def test_texts_of_a_batch_have_predictions_of_their_own() -> None:
    decoder = Decoder(TARGET, PROFILE, "dytc")
    engine = BatchEngine(decoder)
    plain = [decoder.generate(PROMPT, 40, 0.9, seed=seed).token_ids for seed in range(3)]
    texts = [
        engine.submit(PROMPT, max_new_tokens=40, temperature=0.9, seed=seed, prediction=expected)
        for seed, expected in enumerate([plain[0], plain[0], []])
    ]
    engine.run()
    assert [text.result().token_ids for text in texts] == plain
    assert texts[0].result().statistics.accepted_by[PREDICTION] >= 36
    assert texts[2].result().statistics.drafted_by[PREDICTION] == 0


def test_a_prediction_holds_tokens_of_the_vocabulary() -> None:
    with pytest.raises(UnsupportedOption, match="99"):
        Decoder(TARGET).generate(PROMPT, 4, prediction=[99])
