"""The cascade inside transformers' own generate: the same text, or a refusal that names what stands in the way."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GenerationConfig
from transformers.generation import (
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

import casspec
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ProfileMismatch, UnsupportedOption
from tests.runtime.plain_requests import SyllableTokenizer, decode_plainly
from tests.runtime.tiny import FAMILIES, VOCAB, library_model, repetitive_prompt, tiny_profile, tiny_target
from tests.runtime.tiny_families import tiny_model

PROMPT = torch.tensor([repetitive_prompt(30)])
N = PROMPT.shape[1]


@pytest.fixture(scope="module")
def model() -> Any:
    return library_model(seed=7)


@pytest.fixture(scope="module")
def cascade() -> Callable[..., torch.Tensor]:
    return casspec.custom_generate(seed=3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["dytc", "layer-sparse"])
def test_greedy_ids_equal_those_of_generate(family: str, method: str) -> None:
    model = library_model(family, seed=7)
    alone = model.generate(PROMPT, max_new_tokens=40, do_sample=False)
    profile = tiny_profile(TargetModel(model))
    for chosen in (None, profile, profile.document):
        custom = casspec.custom_generate(chosen, method)
        ids = model.generate(PROMPT, max_new_tokens=40, do_sample=False, custom_generate=custom)
        assert torch.equal(ids, alone)
        assert ids.dtype == alone.dtype
        assert not ids.is_inference()


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "deepseek_v3"])
def test_any_family_generates_what_it_generates_alone(family: str) -> None:
    model = tiny_model(family)
    alone = model.generate(PROMPT, max_new_tokens=40, do_sample=False)
    profile = tiny_profile(TargetModel(model))
    for chosen in (None, profile):
        custom = casspec.custom_generate(chosen, "dytc")
        assert torch.equal(model.generate(PROMPT, max_new_tokens=40, do_sample=False, custom_generate=custom), alone)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7, "top_k": 0},
        {"top_k": 6},
        {"temperature": 1.2, "top_k": 0, "top_p": 0.8},
        {"temperature": 0.7, "top_k": 7, "top_p": 0.9, "renormalize_logits": True},
    ],
    ids=str,
)
def test_sampled_ids_equal_those_of_the_decoder(model: Any, cascade: Any, settings: dict[str, Any]) -> None:
    ids = model.generate(PROMPT, max_new_tokens=30, do_sample=True, custom_generate=cascade, **settings)
    expected = casspec.Decoder(TargetModel(model), method="autoregressive").generate(
        PROMPT,
        30,
        temperature=settings.get("temperature", 1.0),
        top_k=settings["top_k"] or None,
        top_p=settings.get("top_p"),
        seed=3,
    )
    assert ids[0, N:].tolist() == expected.token_ids


def test_without_a_seed_each_call_draws_its_own(model: Any) -> None:
    custom = casspec.custom_generate()
    texts = [
        model.generate(PROMPT, max_new_tokens=30, do_sample=True, custom_generate=custom).tolist() for _ in range(2)
    ]
    assert texts[0] != texts[1]


def test_the_end_of_sequence_stays_in_the_output(model: Any, cascade: Any) -> None:
    text = model.generate(PROMPT, max_new_tokens=30, do_sample=False)[0, N:].tolist()
    for end in ([text[4]], [text[9], text[12]]):
        config = GenerationConfig(max_new_tokens=30, do_sample=False, eos_token_id=end, pad_token_id=0)
        alone = model.generate(PROMPT, generation_config=config)
        assert torch.equal(model.generate(PROMPT, generation_config=config, custom_generate=cascade), alone)
        assert int(alone[0, -1]) in end


@pytest.mark.parametrize("length", [{"max_new_tokens": 1}, {"max_length": N + 5}, {}])
def test_lengths_are_those_of_generate(model: Any, cascade: Any, length: dict[str, int]) -> None:
    alone = model.generate(PROMPT, do_sample=False, **length)
    assert torch.equal(model.generate(PROMPT, do_sample=False, custom_generate=cascade, **length), alone)


def test_processors_given_by_hand_are_read(model: Any, cascade: Any) -> None:
    by_hand = LogitsProcessorList([TemperatureLogitsWarper(0.7), TopPLogitsWarper(0.9)])
    ids = model.generate(
        PROMPT, max_new_tokens=20, do_sample=True, top_k=0, logits_processor=by_hand, custom_generate=cascade
    )
    named = model.generate(
        PROMPT, max_new_tokens=20, do_sample=True, top_k=0, temperature=0.7, top_p=0.9, custom_generate=cascade
    )
    assert torch.equal(ids, named)


class Whim(LogitsProcessor):
    """Forbids what stood three tokens before."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        scores[:, input_ids[0, -3]] = -torch.inf
        return scores


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.2},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[3], [5, 6], [7, 1, 2]]},
        {"suppress_tokens": [3, 9]},
        {"min_new_tokens": 9, "eos_token_id": [2, 4, 11, 17]},
        {"min_length": N + 7, "eos_token_id": [2, 4, 11, 17]},
        {"forced_eos_token_id": 2},
        {"begin_suppress_tokens": [1, 8, 20, 21]},
        {"sequence_bias": [[[3], 4.0], [[5, 6], -3.0]]},
        {"exponential_decay_length_penalty": (3, 1.4), "eos_token_id": 2},
        {"renormalize_logits": True, "repetition_penalty": 1.3},
        {"logits_processor": LogitsProcessorList([Whim()]), "repetition_penalty": 1.1},
        {"logits_processor": LogitsProcessorList([TopPLogitsWarper(0.9), TemperatureLogitsWarper(0.5)])},
        {"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(60.0)])},
        {"repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "suppress_tokens": [1]},
    ],
    ids=lambda settings: " ".join(settings),
)
@pytest.mark.parametrize("method", ["dytc", "prompt-lookup"])
def test_whatever_looks_at_one_text_is_honoured(model: Any, method: str, settings: dict[str, Any]) -> None:
    asked = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 0, **settings}
    custom = casspec.custom_generate(tiny_profile(TargetModel(model)), method)
    assert torch.equal(model.generate(PROMPT, custom_generate=custom, **asked), model.generate(PROMPT, **asked))


@pytest.mark.parametrize(
    "settings",
    [
        {"min_p": 0.1, "top_k": 0},
        {"typical_p": 0.7, "top_k": 0},
        {"epsilon_cutoff": 0.03, "temperature": 0.8},
        {"logits_processor": LogitsProcessorList([Whim()]), "top_k": 9, "repetition_penalty": 1.2},
        {"logits_processor": LogitsProcessorList([TopPLogitsWarper(0.9), TemperatureLogitsWarper(0.5)])},
        {"logits_processor": LogitsProcessorList([TopPLogitsWarper(0.9, filter_value=-9.0)]), "top_k": 0},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_sampled_texts_of_every_method_are_that_of_plain_decoding(model: Any, settings: dict[str, Any]) -> None:
    profile = tiny_profile(TargetModel(model))
    asked = {"max_new_tokens": 24, "do_sample": True, **settings}
    texts = [
        model.generate(PROMPT, custom_generate=casspec.custom_generate(profile, method, seed=4), **asked)
        for method in ("autoregressive", "dytc", "layer-sparse", "token-recycling")
    ]
    assert all(torch.equal(text, texts[0]) for text in texts[1:])
    assert texts[0].shape == (1, N + 24)


def test_a_model_with_a_config_like_qwens_decodes_as_it_stands(model: Any) -> None:
    """Sampling, a repetition penalty and two ends, all from the model's own generation config."""
    own = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1}
    chat = library_model(seed=7)
    chat.generation_config = GenerationConfig(**own, eos_token_id=[2, 4], pad_token_id=0)
    profile = tiny_profile(TargetModel(chat))
    ids = [
        chat.generate(PROMPT, max_new_tokens=30, custom_generate=casspec.custom_generate(profile, method, seed=8))
        for method in ("dytc", "autoregressive", "prompt-lookup")
    ]
    assert all(torch.equal(text, ids[0]) for text in ids[1:])
    options = {name: value for name, value in own.items() if name != "do_sample"}
    plain = decode_plainly(
        TargetModel(chat), PROMPT[0].tolist(), {"seed": 8, "max_new_tokens": 30, "stop_token_ids": [2, 4], **options}
    )
    assert ids[0][0, N:].tolist() == plain.token_ids
    greedy = chat.generate(PROMPT, max_new_tokens=30, do_sample=False)
    custom = casspec.custom_generate(profile)
    assert torch.equal(chat.generate(PROMPT, max_new_tokens=30, do_sample=False, custom_generate=custom), greedy)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"guidance_scale": 1.5}, "UnbatchedClassifierFreeGuidanceLogitsProcessor: it runs the model"),
        ({"prefix_allowed_tokens_fn": lambda batch, ids: [1, 2]}, "PrefixConstrainedLogitsProcessor: it goes by"),
        ({"num_beams": 2}, "num_beams=2"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens=3"),
        ({"return_dict_in_generate": True, "output_hidden_states": True}, "output_hidden_states"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_looks_beyond_one_text_is_refused_by_name(
    model: Any, cascade: Any, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        model.generate(PROMPT, max_new_tokens=8, custom_generate=cascade, **settings)
    assert "\n" not in str(refusal.value)


def test_a_batch_padded_on_the_left_is_decoded_row_by_row(model: Any, cascade: Any) -> None:
    prompts = [repetitive_prompt(n, seed=n) for n in (30, 11, 19)]
    ids = torch.tensor([[0] * (30 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (30 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    alone = [model.generate(torch.tensor([p]), max_new_tokens=20, do_sample=False)[0, len(p) :] for p in prompts]
    end = int(alone[1][5])
    asked = {"attention_mask": mask, "max_new_tokens": 20, "do_sample": False, "eos_token_id": end, "pad_token_id": 0}
    found = model.generate(ids, custom_generate=cascade, **asked)
    assert found.shape == (3, 50)
    assert torch.equal(found[:, :30], ids)
    for row, expected in zip(found[:, 30:].tolist(), alone, strict=True):
        text = expected.tolist()
        text = text[: text.index(end) + 1] if end in text else text
        assert row == text + [0] * (20 - len(text))


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 2.0},
        {"repetition_penalty": 1.5, "sequence_bias": [[[3], 1.0]]},
        {"no_repeat_ngram_size": 2, "min_new_tokens": 6, "eos_token_id": [2, 4, 11, 17]},
        {"forced_eos_token_id": 2},
        {"begin_suppress_tokens": [1, 8, 20, 21]},
        {"exponential_decay_length_penalty": (3, 1.4), "eos_token_id": 2},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_processors_see_a_padded_batch_as_generate_shows_it(model: Any, cascade: Any, settings: dict[str, Any]) -> None:
    prompts = [repetitive_prompt(n, seed=n) for n in (18, 11, 14)]
    ids = torch.tensor([[0] * (18 - len(prompt)) + prompt for prompt in prompts])
    asked = {"attention_mask": (ids != 0).long().cummax(-1).values, "max_new_tokens": 16, "do_sample": False}
    asked |= {"pad_token_id": 0, **settings}
    assert torch.equal(model.generate(ids, custom_generate=cascade, **asked), model.generate(ids, **asked))
    row = {**asked, "attention_mask": asked["attention_mask"][1:2]}
    assert torch.equal(model.generate(ids[1:2], custom_generate=cascade, **row), model.generate(ids[1:2], **row))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"return_dict_in_generate": True, "output_scores": True}, "scores of one text"),
        ({"streamer": True}, "a streamer can follow one text, got 2"),
    ],
    ids=["scores", "streamer"],
)
def test_what_is_of_one_text_is_refused_for_several(model: Any, settings: dict[str, Any], named: str) -> None:
    custom = casspec.custom_generate(streamer=Collector() if settings.pop("streamer", False) else None)
    with pytest.raises(UnsupportedOption, match=named):
        model.generate(
            PROMPT, num_return_sequences=2, do_sample=True, max_new_tokens=4, custom_generate=custom, **settings
        )


def test_ends_outside_the_vocabulary_never_come(model: Any, cascade: Any) -> None:
    asked = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    assert torch.equal(
        model.generate(PROMPT, custom_generate=cascade, **asked),
        model.generate(PROMPT, max_new_tokens=12, do_sample=False),
    )


def test_a_criterion_that_needs_more_than_one_text_is_named(model: Any, cascade: Any) -> None:
    class OfScores(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> Any:
            return scores[-1].sum() > 0

    with pytest.raises(UnsupportedOption, match="cannot honour OfScores"):
        model.generate(
            PROMPT,
            max_new_tokens=4,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([OfScores()]),
            custom_generate=cascade,
        )


def test_several_sequences_of_a_prompt_have_noise_of_their_own(model: Any) -> None:
    custom = casspec.custom_generate(seed=5)
    asked = {"max_new_tokens": 16, "do_sample": True, "top_k": 0, "custom_generate": custom}
    three = model.generate(PROMPT, num_return_sequences=3, **asked)
    assert len({tuple(row) for row in three.tolist()}) == 3
    assert torch.equal(three[:1], model.generate(PROMPT, **asked))
    decoder = casspec.Decoder(TargetModel(model))
    texts = decoder.samples(PROMPT, 3, max_new_tokens=16, temperature=1.0, seed=5)
    assert three[:, N:].tolist() == [text.token_ids for text in texts]


def test_scores_come_back_as_generate_has_them(model: Any, cascade: Any) -> None:
    asked = {"max_new_tokens": 12, "do_sample": False, "repetition_penalty": 1.3, "return_dict_in_generate": True}
    asked |= {"output_scores": True, "output_logits": True}
    found, alone = model.generate(PROMPT, custom_generate=cascade, **asked), model.generate(PROMPT, **asked)
    assert torch.equal(found.sequences, alone.sequences)
    for mine, expected in ((found.scores, alone.scores), (found.logits, alone.logits)):
        assert len(mine) == len(expected) == 12
        for row, own in zip(mine, expected, strict=True):
            torch.testing.assert_close(row, own, atol=1e-4, rtol=1e-4)


def test_stop_strings_end_a_text_as_generate_ends_it(model: Any) -> None:
    plain = model.generate(PROMPT, max_new_tokens=30, do_sample=False)[0, N:].tolist()
    said = SyllableTokenizer().decode(plain)
    custom = casspec.custom_generate(stop_strings=[said[7:10]], tokenizer=SyllableTokenizer())
    found = model.generate(PROMPT, max_new_tokens=30, do_sample=False, custom_generate=custom)[0, N:].tolist()
    assert found == plain[: len(found)]
    assert said.index(said[7:10]) + 3 <= 2 * len(found) <= said.index(said[7:10]) + 4


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"input_ids": PROMPT, "attention_mask": (torch.arange(N) < N - 2).long()[None]}, "zeros stand on the left"),
        ({"input_ids": PROMPT, "position_ids": torch.arange(N)[None] + 3}, "position_ids"),
        ({"inputs_embeds": torch.zeros(1, 4, 32)}, "inputs_embeds"),
    ],
    ids=["padding", "positions", "embeddings"],
)
def test_inputs_other_than_whole_prompts_are_refused(
    model: Any, cascade: Any, inputs: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedOption, match=named):
        model.generate(**inputs, max_new_tokens=4, custom_generate=cascade)


def test_a_cache_to_go_on_from_is_refused(model: Any, cascade: Any) -> None:
    filled = model(PROMPT[:, :-1], use_cache=True).past_key_values
    with pytest.raises(UnsupportedOption, match="past_key_values"):
        model.generate(PROMPT, past_key_values=filled, max_new_tokens=4, custom_generate=cascade)


def test_a_mask_of_ones_and_a_criterion_of_length_are_no_obstacle(model: Any, cascade: Any) -> None:
    ids = model.generate(
        PROMPT,
        attention_mask=torch.ones_like(PROMPT),
        max_new_tokens=20,
        do_sample=False,
        stopping_criteria=StoppingCriteriaList([MaxLengthCriteria(N + 6)]),
        custom_generate=cascade,
    )
    assert torch.equal(ids, model.generate(PROMPT, max_new_tokens=6, do_sample=False))


def test_a_profile_of_another_model_is_refused(model: Any) -> None:
    custom = casspec.custom_generate(tiny_profile(tiny_target(seed=8)))
    with pytest.raises(ProfileMismatch):
        model.generate(PROMPT, max_new_tokens=4, custom_generate=custom)


class Collector:
    def __init__(self) -> None:
        self.parts: list[list[int]] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.parts.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended = True


def test_a_streamer_gets_the_prompt_then_every_token(model: Any) -> None:
    streamer = Collector()
    custom = casspec.custom_generate(streamer=streamer)
    ids = model.generate(PROMPT, max_new_tokens=20, do_sample=False, custom_generate=custom)
    assert streamer.parts[0] == PROMPT[0].tolist()
    assert [token for part in streamer.parts for token in part] == ids[0].tolist()
    assert streamer.ended


# --------------------------------------------------------------------------------------- the decoder it keeps of a model


def count_targets(monkeypatch: pytest.MonkeyPatch) -> list[TargetModel]:
    built: list[TargetModel] = []
    build = TargetModel.__init__

    def counted(self: TargetModel, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        built.append(self)

    monkeypatch.setattr(TargetModel, "__init__", counted)
    return built


def test_the_decoder_is_built_once_and_again_when_weights_have_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    model, custom = library_model(seed=7), casspec.custom_generate()
    built = count_targets(monkeypatch)

    def check(n_built: int) -> None:
        alone = model.generate(PROMPT, max_new_tokens=12, do_sample=False)
        ids = model.generate(PROMPT, max_new_tokens=12, do_sample=False, custom_generate=custom)
        assert torch.equal(ids, alone)
        assert len(built) == n_built

    check(1)
    check(1)
    model.to(torch.float64).to(torch.float32)
    check(2)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(-1.5)  # in place: seen without building again
    check(2)
    model.model.layers[2].self_attn.o_proj.weight = torch.nn.Parameter(torch.randn(32, 32), requires_grad=False)
    check(3)
    model.load_state_dict(library_model(seed=8).state_dict())
    check(3)


def test_a_model_converted_to_half_precision_goes_on(cascade: Any) -> None:
    model = library_model(seed=7)
    model.generate(PROMPT, max_new_tokens=4, do_sample=False, custom_generate=cascade)
    model.to(torch.bfloat16)
    ids = model.generate(PROMPT, max_new_tokens=9, do_sample=False, custom_generate=cascade)
    assert ids.shape == (1, N + 9)
    assert int(ids.max()) < VOCAB


@pytest.mark.parametrize(
    "make", [lambda: library_model(seed=7), lambda: tiny_model("mixtral")], ids=["lean", "generic"]
)
def test_the_callable_keeps_no_model_alive(make: Callable[[], Any]) -> None:
    model, custom = make(), casspec.custom_generate()
    model.generate(PROMPT, max_new_tokens=4, do_sample=False, custom_generate=custom)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    other = library_model(seed=8)
    expected = other.generate(PROMPT, max_new_tokens=4, do_sample=False)
    assert torch.equal(other.generate(PROMPT, max_new_tokens=4, do_sample=False, custom_generate=custom), expected)
