"""A text of a batch is the text it is alone, whatever runs beside it, whatever is kept of others, and whoever is cancelled."""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any

import pytest
import torch

from casspec.runtime.batching.engine import BatchedText, BatchEngine
from casspec.runtime.batching.hub import JointTarget
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import all_methods
from casspec.runtime.session import Listener
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from tests.runtime.tiny import library_model, repetitive_prompt, tiny_profile, tiny_target
from tests.runtime.tiny_families import tiny_model

TARGET = tiny_target("qwen3", seed=7)
PROFILE = tiny_profile(TARGET)


def options(dice: random.Random) -> dict[str, Any]:
    asked: dict[str, Any] = {"max_new_tokens": dice.randrange(1, 30), "seed": dice.randrange(99)}
    asked["temperature"] = dice.choice([0.0, 0.0, 0.7, 1.1])
    if dice.random() < 0.2:
        asked |= {"repetition_penalty": 1.3, "logit_bias": {dice.randrange(31): 2.0}}
    if dice.random() < 0.2:
        asked |= {"stop_token_ids": [dice.randrange(31)]}
    if dice.random() < 0.2 and asked["temperature"]:
        asked |= {"top_p": 0.9, "top_k": 12}
    return asked


def arrivals(
    engine: BatchEngine, n: int, seed: int, cancels: bool = True
) -> list[tuple[list[int], dict[str, Any], BatchedText]]:
    """Requests that come at any step, some of which are cancelled at any other; run to the end."""
    dice, jobs = random.Random(seed), list[tuple[list[int], dict[str, Any], BatchedText]]()
    while len(jobs) < n or engine.n_running or engine.n_waiting:
        for _ in range(dice.choice([0, 0, 1, 3]) if len(jobs) < n else 0):
            prompt, asked = repetitive_prompt(dice.randrange(1, 60), seed=dice.randrange(6)), options(dice)
            jobs.append((prompt, asked, engine.submit(prompt, **asked)))
        if cancels and jobs and dice.random() < 0.05:
            engine.cancel(dice.choice(jobs)[2])
        engine.step()
    return jobs


@pytest.mark.parametrize("method", ["dytc", "prompt-lookup", "vc-hc", "autoregressive"])
def test_texts_are_those_of_a_decoder_alone(method: str) -> None:
    alone = Decoder(TARGET, PROFILE, method)
    engine = BatchEngine(Decoder(TARGET, PROFILE, method), max_batch=6, prefill_rows=16)
    jobs = arrivals(engine, 125, seed=3)
    over = [job for job in jobs if not job[2].cancelled]
    assert 80 < len(over) < 125
    for prompt, asked, text in over:
        expected = alone.generate(prompt, **asked)
        assert text.generation is not None
        assert text.generation.token_ids == expected.token_ids
        assert text.generation.finish_reason == expected.finish_reason
    for prompt, asked, text in jobs:
        if text.cancelled and text.generation is not None:
            begun = text.generation.token_ids
            assert alone.generate(prompt, **asked).token_ids[: len(begun)] == begun
    assert engine.prefixes.hits > 5


@pytest.mark.parametrize("method", sorted(all_methods()))
def test_every_method_decodes_in_batches(method: str) -> None:
    try:
        decoder = Decoder(TARGET, PROFILE, method)
    except UnsupportedOption:
        pytest.skip("no kernel runs it here")
    prompts = [repetitive_prompt(n, seed=n) for n in (5, 40, 17)]
    engine = BatchEngine(decoder, prefill_rows=16)
    for temperature in (0.0, 0.8):
        expected = [decoder.generate(prompt, 24, temperature, seed=5).token_ids for prompt in prompts]
        texts = engine.generate(prompts, max_new_tokens=24, temperature=temperature, seed=5)
        assert [text.token_ids for text in texts] == expected


@pytest.mark.parametrize("name", ["gpt_oss", "deepseek_v3", "gemma4_text", "mixtral"])
def test_other_families_decode_in_batches(name: str) -> None:
    target = TargetModel(tiny_model(name))
    decoder = Decoder(target, tiny_profile(target), "dytc")
    prompts = [repetitive_prompt(n, seed=n) for n in (5, 40, 17)]
    expected = [decoder.generate(prompt, 32).token_ids for prompt in prompts]
    assert [text.token_ids for text in BatchEngine(decoder).generate(prompts, max_new_tokens=32)] == expected


def test_without_packed_weights_texts_are_the_same() -> None:
    target = TargetModel(library_model("llama", seed=7))
    decoder = Decoder(target, None, "prompt-lookup")
    prompts = [repetitive_prompt(n, seed=n) for n in (5, 40, 17)]
    expected = [decoder.generate(prompt, 24).token_ids for prompt in prompts]
    assert [text.token_ids for text in BatchEngine(decoder).generate(prompts, max_new_tokens=24)] == expected


def test_a_text_that_begins_like_another_is_not_computed_twice() -> None:
    decoder = Decoder(TARGET, PROFILE, "dytc")
    engine = BatchEngine(decoder)
    first = repetitive_prompt(80, seed=1)
    (text,) = engine.generate([first], max_new_tokens=20)
    follow_up = [*first, *text.token_ids, 3, 1, 4]
    expected = decoder.generate(follow_up, 20).token_ids
    assert engine.generate([follow_up], max_new_tokens=20)[0].token_ids == expected
    assert (engine.prefixes.hits, engine.prefixes.reused_tokens) == (1, 80 + 20 - 1)
    assert len(engine.prefixes) == 1, "the longer text is kept in place of the shorter one"


def test_nobody_waits_for_drafts_of_a_first_token() -> None:
    parts: list[int] = []
    engine = BatchEngine(Decoder(TARGET, PROFILE, "dytc"))
    engine.submit(
        repetitive_prompt(80, seed=1), Listener(on_tokens=lambda new: parts.append(len(new))), max_new_tokens=40
    )
    engine.run()
    assert parts[0] == 1 < max(parts)


def test_prompts_are_learned_from_where_no_other_text_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    fill = JointTarget.fill

    def counted(self: JointTarget, inputs: Any, cache: Any, plan: Any, wanted: list[int]) -> torch.Tensor:
        asked.append(len(wanted))
        return fill(self, inputs, cache, plan, wanted)

    monkeypatch.setattr(JointTarget, "fill", counted)
    engine = BatchEngine(Decoder(TARGET, PROFILE, "dytc"))
    engine.generate([repetitive_prompt(30, seed=1)], max_new_tokens=2)
    assert sum(asked) == 29
    asked.clear()
    engine.generate([repetitive_prompt(30, seed=seed) for seed in (2, 3)], max_new_tokens=2)
    assert sum(asked) == 0


def test_rows_of_a_text_nothing_was_learned_from_serve_another() -> None:
    decoder = Decoder(TARGET, PROFILE, "dytc")
    engine = BatchEngine(decoder)
    prompts = [repetitive_prompt(80, seed=seed) for seed in (1, 2)]
    texts = engine.generate(prompts, max_new_tokens=10)
    follow_up = [*prompts[0], *texts[0].token_ids, 3, 1, 4]
    assert engine.generate([follow_up], max_new_tokens=20)[0].token_ids == decoder.generate(follow_up, 20).token_ids
    assert engine.prefixes.reused_tokens == 80 + 10 - 1


def test_prompts_come_in_pieces_between_the_tokens_of_others() -> None:
    engine = BatchEngine(Decoder(TARGET, None, "autoregressive"), prefill_rows=8)
    told: list[int] = []
    running = engine.submit([1, 2, 3], Listener(on_tokens=told.extend), max_new_tokens=40)
    engine.step()
    engine.submit(repetitive_prompt(100), max_new_tokens=4)
    before = len(told)
    for _ in range(10):
        engine.step()
    assert len(told) == before + 10, "a token a step, while 100 tokens of a prompt come by eights"
    engine.run()
    assert running.generation is not None
    assert running.generation.token_ids == told


def test_prompts_of_a_whole_batch_may_come_at_once() -> None:
    engine = BatchEngine(Decoder(TARGET, None, "autoregressive"), prefill_rows=5000)
    texts = [engine.submit(repetitive_prompt(100, seed=seed), max_new_tokens=4) for seed in range(4)]
    engine.step()
    assert all(text.has_begun for text in texts)
    engine.run()
    assert all(len(text.result().token_ids) == 4 for text in texts)


def test_tokens_of_all_texts_are_counted() -> None:
    engine = BatchEngine(Decoder(TARGET, PROFILE, "dytc"))
    texts = engine.generate(
        [repetitive_prompt(9, seed=seed) for seed in range(5)], max_new_tokens=12, stop_token_ids=[]
    )
    assert engine.n_emitted == sum(len(text.token_ids) for text in texts) == 60


def test_rows_of_a_text_that_ends_or_is_cancelled_are_free_at_once() -> None:
    engine = BatchEngine(Decoder(TARGET, None, "autoregressive"), keeps_prefixes=False)
    short, long = (engine.submit([1, 2, 3], max_new_tokens=n) for n in (2, 30))
    for _ in range(3):
        engine.step()
    assert short.is_over
    assert engine.cached_bytes == long._n_bytes
    cache = weakref.ref(long._session.sequence.cache)  # type: ignore[union-attr]
    engine.cancel(long)
    assert (engine.cached_bytes, engine.n_running, long.cancelled) == (0, 0, True)
    assert long.generation is not None
    assert len(long.generation.token_ids) >= 2
    gc.collect()
    assert cache() is None


def test_what_does_not_fit_waits_and_what_never_will_is_refused() -> None:
    one = TARGET.cache_bytes(3 + 20 + 128)
    engine = BatchEngine(Decoder(TARGET, None, "autoregressive"), kv_cache_bytes=2 * one)
    texts = [engine.submit([1, 2, 3], max_new_tokens=20) for _ in range(5)]
    engine.step()
    assert (engine.n_running, engine.n_waiting) == (2, 3)
    while engine.step():
        assert engine.cached_bytes <= engine.kv_cache_bytes
    assert all(text.generation for text in texts)
    assert engine.cached_bytes <= engine.kv_cache_bytes
    small = BatchEngine(Decoder(TARGET, None, "autoregressive"), kv_cache_bytes=one - 1)
    with pytest.raises(ContextOverflow, match=r"needs .* MiB of cache and .* MiB are planned"):
        small.submit([1, 2, 3], max_new_tokens=20)


def test_an_error_of_one_text_is_its_own() -> None:
    def broken(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores[:, :3]

    engine = BatchEngine(Decoder(TARGET, None, "autoregressive"))
    bad = engine.submit([1, 2, 3], max_new_tokens=9, processors=[broken])
    good = engine.submit([1, 2, 3], max_new_tokens=9)
    engine.run()
    assert isinstance(bad.error, UnsupportedOption)
    assert good.generation is not None
    assert len(good.generation.token_ids) == 9
    with pytest.raises(UnsupportedOption, match="gave no scores"):
        engine.generate([[1, 2]], max_new_tokens=3, processors=[broken])


@pytest.mark.parametrize("fault", [KeyError("x"), RuntimeError("shapes"), MemoryError()])
def test_whatever_breaks_in_one_text_leaves_the_others_as_they_are(fault: Exception) -> None:
    def broken(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] > 5:
            raise fault
        return scores

    engine = BatchEngine(Decoder(TARGET, None, "autoregressive"))
    good = engine.submit([1, 2, 3], max_new_tokens=9)
    expected = Decoder(TARGET, None, "autoregressive").generate([1, 2, 3], max_new_tokens=9).token_ids
    bad = engine.submit([4, 5, 6], max_new_tokens=9, processors=[broken])
    engine.run()
    assert bad.error is fault
    assert (engine.n_running, engine.n_waiting) == (0, 0)
    assert good.result().token_ids == expected
    with pytest.raises(type(fault)):
        bad.result()


def test_it_says_whether_it_drafts_and_where_that_pays() -> None:
    engine = BatchEngine(Decoder(TARGET, None, "prompt-lookup"))
    assert (engine.drafts, engine.gates) == (True, [])
    engine.generate([[1, 2, 3]] * 4, max_new_tokens=30)
    assert {(one.n_texts, one.mode) for one in engine.gates} >= {(4, "greedy")}


def test_many_short_requests_leave_nothing_behind() -> None:
    engine = BatchEngine(Decoder(TARGET, None, "prompt-lookup"), max_batch=8, keeps_prefixes=False)

    def wave() -> int:
        engine.generate([[1, 2, 3]] * 50, max_new_tokens=2)
        gc.collect()
        return len(gc.get_objects())

    wave()
    before = wave()
    for _ in range(4):
        after = wave()
    assert after - before < 200


@pytest.mark.parametrize("limits", [{"max_batch": 0}, {"prefill_rows": 0}])
def test_an_engine_for_nobody_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UnsupportedOption, match="at least one"):
        BatchEngine(Decoder(TARGET, None, "autoregressive"), **limits)
