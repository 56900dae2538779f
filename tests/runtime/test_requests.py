"""Every option of a request with every method: the text, the end and the probabilities of plain decoding."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.runtime.session import Listener
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision
from tests.runtime.plain_requests import SyllableTokenizer, decode_plainly, random_request
from tests.runtime.tiny import FAMILIES, VOCAB, repetitive_prompt, tiny_profile, tiny_target

REQUESTS_A_METHOD = 15
RUNNING = [m for m in METHODS if m != "quantised" or tiny_target().refusal(Precision.INT8_DYNAMIC) is None]


@cache
def target_of(family: str) -> TargetModel:
    target = tiny_target(family, seed=7)
    target.tokenizer = SyllableTokenizer()
    return target


@cache
def profile_of(family: str) -> LoadedProfile:
    return tiny_profile(target_of(family))


@pytest.mark.parametrize("method", RUNNING)
def test_any_request_comes_to_what_plain_decoding_comes_to(method: str) -> None:
    chance = random.Random(method)
    for number in range(REQUESTS_A_METHOD):
        family = chance.choice(FAMILIES)
        options, prompt = random_request(chance), repetitive_prompt(chance.randint(2, 40), seed=number)
        target = target_of(family)
        decoder = Decoder(target, profile_of(family) if number % 2 else None, method)
        heard: list[str] = []
        found = decoder.generate(prompt, on_text=heard.append, **{"stop_token_ids": [], **options})
        expected = decode_plainly(target, prompt, options)
        told = f"{family}, {options}"
        assert found.token_ids == expected.token_ids, told
        assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason), told
        assert "".join(heard) == found.text, told
        for mine, sampled, raw in zip(found.logprobs, expected.logprobs, expected.raw_logprobs, strict=True):
            assert mine.logprob == pytest.approx(sampled, abs=1e-4), told
            assert mine.raw_logprob == pytest.approx(raw, abs=1e-4), told
        statistics = found.statistics
        assert statistics.emitted_tokens == len(found.token_ids) == sum(statistics.accepted_lengths.elements())


def test_samples_of_a_prompt_share_its_prefill_and_nothing_else() -> None:
    target, prompt = target_of("qwen2"), repetitive_prompt(30)
    options: dict[str, Any] = {"temperature": 1.0, "seed": 5, "max_new_tokens": 20, "frequency_penalty": 0.3}
    for method in ("dytc", "layer-sparse", "token-recycling"):
        texts = Decoder(target, profile_of("qwen2"), method).samples(prompt, 4, **options)
        expected = [decode_plainly(target, prompt, options, sequence) for sequence in range(4)]
        assert [text.token_ids for text in texts] == [text.token_ids for text in expected]
        assert len({tuple(text.token_ids) for text in texts}) == 4
        later = Decoder(target, profile_of("qwen2"), method).samples(prompt, 2, first=2, **options)
        assert [text.token_ids for text in later] == [text.token_ids for text in texts[2:]]


def test_the_likeliest_tokens_are_told_best_first_and_only_those_that_may_come() -> None:
    target, prompt = target_of("llama"), repetitive_prompt(20)
    options = {"temperature": 0.7, "top_k": 3, "repetition_penalty": 1.3, "seed": 1, "logprobs": 6}
    found = Decoder(target, profile_of("llama"), "dytc").generate(prompt, 16, **options)
    for one, token in zip(found.logprobs, found.token_ids, strict=True):
        assert one.token == token
        assert len(one.top) == 3
        assert len(one.raw_top) == 6
        assert sorted(one.top, key=lambda pair: -pair[1]) == one.top
        assert (token, pytest.approx(one.logprob)) in one.top
    assert not Decoder(target).generate(prompt, 4).logprobs


def test_whole_rows_are_kept_where_they_are_asked_for() -> None:
    target, prompt = target_of("llama"), repetitive_prompt(20)
    found = Decoder(target, None, "prompt-lookup").generate(prompt, 9, keep_scores=True, presence_penalty=2.0)
    assert [tuple(row.shape) for row in found.scores] == [(1, VOCAB)] * 9
    assert [int(row.argmax()) for row in found.scores] == found.token_ids
    assert any(int(row.argmax()) != token for row, token in zip(found.raw_scores, found.token_ids, strict=True))


def test_a_processor_is_copied_for_every_text_and_asked_once_a_token_of_it() -> None:
    class Counting:
        def __init__(self) -> None:
            self.lengths: list[int] = []

        def __call__(self, ids: Any, scores: Any) -> Any:
            self.lengths.append(ids.shape[1])
            lengths.append(ids.shape[1])
            scores[0, 3] = -float("inf")
            return scores

    lengths: list[int] = []
    counting, prompt = Counting(), repetitive_prompt(30)
    found = Decoder(target_of("llama"), profile_of("llama"), "dytc").generate(prompt, 12, processors=[counting])
    assert lengths == list(range(30, 42))
    assert 3 not in found.token_ids
    assert counting.lengths == []


def test_a_criterion_ends_the_text_and_is_not_asked_past_it() -> None:
    asked: list[int] = []

    def seventh(ids: Any, scores: Any) -> bool:
        asked.append(ids.shape[1])
        return ids.shape[1] == 37

    found = Decoder(target_of("llama"), profile_of("llama"), "dytc").generate(
        repetitive_prompt(30), 20, criteria=[seventh]
    )
    assert (len(found.token_ids), found.finish_reason, found.stop_reason) == (7, "stop", None)
    assert asked == list(range(31, 38))


def test_what_ended_a_text_is_told() -> None:
    target, prompt = target_of("llama"), repetitive_prompt(30)
    plain = Decoder(target).generate(prompt, 20)
    token = plain.token_ids[6]
    ended = Decoder(target).generate(prompt, 20, stop_token_ids=[token])
    assert (ended.finish_reason, ended.stop_reason) == ("stop", token)
    assert plain.text is not None
    string = plain.text[9:13]
    stopped = Decoder(target).generate(prompt, 20, stop=string)
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", string)
    assert stopped.text == plain.text[: plain.text.index(string)]
    assert plain.finish_reason == "length"


def test_the_models_own_ends_can_be_ignored() -> None:
    target = tiny_target(seed=7)
    prompt = repetitive_prompt(30)
    text = Decoder(target).generate(prompt, 20).token_ids
    target.library_model.generation_config.eos_token_id = text[4]
    assert len(Decoder(target).generate(prompt, 20).token_ids) <= 5
    assert Decoder(target).generate(prompt, 20, ignore_eos=True).token_ids == text


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"repetition_penalty": 0.0}, "repetition_penalty must be positive"),
        ({"top_p": 1.5}, "top_p must lie"),
        ({"min_p": -0.1}, "min_p must lie"),
        ({"typical_p": 0.0}, "typical_p must lie"),
        ({"frequency_penalty": float("nan")}, "frequency_penalty must be a finite"),
        ({"logit_bias": {3: float("inf")}}, "logit_bias of token 3"),
        ({"logit_bias": {VOCAB: 1.0}}, f"token id {VOCAB} is outside"),
        ({"suppress_tokens": [-1]}, "token id -1 is outside"),
        ({"bad_words": [[]]}, "bad_words holds an empty"),
        ({"min_new_tokens": -1}, "min_new_tokens must not"),
        ({"logprobs": -1}, "logprobs must lie"),
        ({"stop": [""]}, "stop takes"),
        ({"beams": 3}, "no option beams; options: .*bad_words.*top_p"),
        ({"temperature": float("inf")}, "temperature must be"),
        ({"temperature": 1e-40}, "temperature must be"),
        ({"repetition_penalty": 1e-45}, "repetition_penalty must be"),
        ({"presence_penalty": 1e300}, "presence_penalty must be"),
        ({"logit_bias": {"5": 1.0}}, "token ids are whole numbers"),
        ({"stop_token_ids": 3}, "wrong type"),
        ({"bad_words": [5, 6]}, "wrong type"),
        ({"criteria": print}, "wrong type"),
        ({"processors": [3]}, "lists of what can be called"),
        ({"seed": 1.5}, "seed takes a whole number"),
        ({"max_new_tokens": 2.5}, "max_new_tokens takes a whole number"),
        ({"top_k": 2.0}, "top_k takes a whole number"),
        ({"defaults": "none"}, "defaults are 'model' or None"),
        ({"processors": [lambda ids, scores: None]}, "gave no scores of shape"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        Decoder(target_of("llama")).generate([1, 2], **{"max_new_tokens": 4, **options})
    assert "\n" not in str(refusal.value)


def test_stop_strings_need_a_tokenizer() -> None:
    with pytest.raises(UnsupportedOption, match="brings no tokenizer"):
        Decoder(tiny_target()).generate([1, 2], 4, stop="a")
    with pytest.raises(UnsupportedOption, match="brings no tokenizer"):
        Decoder(tiny_target()).generate([1, 2], 4, on_text=print)


def test_a_listener_hears_every_sample() -> None:
    heard: list[str] = []
    texts = Decoder(target_of("llama")).samples(
        [1, 2, 3], 2, listener=Listener(on_text=heard.append), temperature=1.0, seed=3, max_new_tokens=6
    )
    assert "".join(heard) == "".join(str(text.text) for text in texts)


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_a_tree_shaped_all_at_once_come_to_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device, which is asked once a step."""
    made = Sequence.__init__

    def as_on_a_device(self: Sequence, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        self.on_host = False

    monkeypatch.setattr(Sequence, "__init__", as_on_a_device)
    chance = random.Random(seed)
    options, prompt = {**random_request(chance), "max_new_tokens": 20}, repetitive_prompt(30, seed=seed)
    target = target_of("llama")
    found = Decoder(target, profile_of("llama"), "dytc").generate(prompt, **{"stop_token_ids": [], **options})
    expected = decode_plainly(target, prompt, options)
    assert (found.token_ids, found.finish_reason) == (expected.token_ids, expected.finish_reason)
    assert [one.logprob for one in found.logprobs] == pytest.approx(expected.logprobs, abs=1e-4)


class ShortTokenizer(SyllableTokenizer):
    """Knows the first half of the tokens, and fails at the others as tokenizers written in Python do."""

    def __len__(self) -> int:
        return VOCAB // 2

    def decode(self, tokens: list[int], **settings: Any) -> str:
        if any(token >= len(self) for token in tokens):
            raise IndexError("piece id is out of range")
        return super().decode(tokens, **settings)


@pytest.mark.parametrize("method", RUNNING)
def test_a_token_that_the_tokenizer_does_not_know_says_nothing(method: str) -> None:
    target = tiny_target(seed=7)
    target.tokenizer = ShortTokenizer()
    prompt, options = repetitive_prompt(20), {"seed": 3, "logprobs": 2, "stop": ("never",), "stop_token_ids": []}
    found = Decoder(target, tiny_profile(target), method).generate(prompt, 24, **options)
    unknown = [token for token in found.token_ids if token >= len(target.tokenizer)]
    assert 0 < len(unknown) < len(found.token_ids)
    assert found.text == SyllableTokenizer().decode([token for token in found.token_ids if token not in unknown])
    assert len(found.logprobs) == len(found.token_ids)


def test_a_prompt_with_a_token_that_the_weights_do_not_have_is_refused() -> None:
    with pytest.raises(UnsupportedOption, match=f"token ids outside the vocabulary of {VOCAB}"):
        Decoder(tiny_target()).generate([1, VOCAB], 4)
