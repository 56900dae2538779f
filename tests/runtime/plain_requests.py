"""Plain decoding of a request, the long way: the library's model over the whole text for every token, the library's processors, stop
strings looked for in the whole text. And random requests."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.generation import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.model.target import TargetModel
from tests.runtime.tiny import VOCAB


class SyllableTokenizer:
    """Token i stands for two letters, so that a stop string may begin in one token and end in another."""

    all_special_tokens = ()

    def encode(self, text: str) -> list[int]:
        return [ord(character) % VOCAB for character in text]

    def __len__(self) -> int:
        return VOCAB

    def convert_ids_to_tokens(self, tokens: list[int]) -> list[str]:
        return [self.decode([token]) for token in tokens]

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(chr(97 + token % 4) + chr(97 + token // 4) for token in tokens)


@dataclass
class PlainText:
    """What plain decoding comes to."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = "length"
    logprobs: list[float] = field(default_factory=list)
    raw_logprobs: list[float] = field(default_factory=list)


class Emitted:
    """Frequency and presence penalty as a processor of the library would have them."""

    def __init__(self, n_prompt: int, frequency: float, presence: float) -> None:
        self._n_prompt, self._frequency, self._presence = n_prompt, frequency, presence

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(input_ids[0, self._n_prompt :], minlength=scores.shape[1]).float()
        return scores - (counts * self._frequency + (counts > 0) * self._presence)


def processors(options: dict[str, Any], n_prompt: int, ends: list[int], last: Any = None) -> Any:
    """The library's, in its order."""
    listed: list[Any] = []
    if options.get("logit_bias"):
        listed.append(SequenceBiasLogitsProcessor([[[t], b] for t, b in options["logit_bias"].items()]))
    if options.get("repetition_penalty"):
        listed.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    if options.get("frequency_penalty") or options.get("presence_penalty"):
        listed.append(Emitted(n_prompt, options.get("frequency_penalty", 0.0), options.get("presence_penalty", 0.0)))
    if options.get("bad_words"):
        listed.append(NoBadWordsLogitsProcessor([list(word) for word in options["bad_words"]]))
    if options.get("min_new_tokens") and ends:
        listed.append(MinNewTokensLengthLogitsProcessor(n_prompt, options["min_new_tokens"], ends))
    if options.get("suppress_tokens"):
        listed.append(SuppressTokensLogitsProcessor(options["suppress_tokens"]))
    listed += options.get("processors", ())
    listed += [last] if last is not None else []
    if options.get("temperature"):
        listed.append(TemperatureLogitsWarper(options["temperature"]))
        warpers = {"top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper}
        warpers["typical_p"] = TypicalLogitsWarper
        listed += [warper(options[name]) for name, warper in warpers.items() if name in options]
    return LogitsProcessorList(listed)


def decode_plainly(
    target: TargetModel,
    prompt: list[int],
    options: dict[str, Any],
    sequence: int = 0,
    last: Any = None,
    is_over: Callable[[list[int]], bool] = lambda _: False,
) -> PlainText:
    """One token at a time.

    Args:
        last: a processor that comes after the others, before what samples. is_over: whether nothing can follow the tokens emitted.
    """
    ends = list(options.get("stop_token_ids", ()))
    listed, found, tokens = processors(options, len(prompt), ends, last), PlainText(), list(prompt)
    noise = GumbelNoise(options["seed"], VOCAB, sequence=sequence) if options.get("temperature") else None
    decoded = SyllableTokenizer().decode
    while len(found.token_ids) < options["max_new_tokens"]:
        ids = torch.tensor([tokens])
        raw = target.library_model(ids).logits[:, -1].float()
        scores = listed(ids, raw.clone())
        draw = scores if noise is None else scores + noise.rows(len(tokens), 1)
        token = int(draw.argmax())
        found.logprobs.append(float(scores.log_softmax(-1)[0, token]))
        found.raw_logprobs.append(float(raw.log_softmax(-1)[0, token]))
        tokens.append(token)
        found.token_ids.append(token)
        text = decoded(found.token_ids)
        completed = [text.index(stop) for stop in options.get("stop", ()) if stop in text]
        if completed:
            found.text, found.finish_reason = text[: min(completed)], "stop"
            return found
        if token in ends or is_over(found.token_ids):
            found.finish_reason = "stop"
            break
    found.text = decoded(found.token_ids)
    return found


def random_request(chance: random.Random) -> dict[str, Any]:
    """Any options together, each there in half of the requests or so."""
    options: dict[str, Any] = {"max_new_tokens": chance.randint(1, 28), "seed": chance.randrange(2**40), "logprobs": 3}

    def sometimes(name: str, value: Any, share: float = 0.4) -> None:
        if chance.random() < share:
            options[name] = value

    tokens = lambda count: [chance.randrange(VOCAB) for _ in range(count)]  # noqa: E731
    if chance.random() < 0.6:
        options["temperature"] = chance.choice([0.5, 0.7, 1.0, 1.4])
        sometimes("top_k", chance.randint(1, 20))
        sometimes("top_p", chance.choice([0.5, 0.8, 0.95]))
        sometimes("min_p", chance.choice([0.02, 0.1]))
        sometimes("typical_p", chance.choice([0.4, 0.9]), 0.2)
    sometimes("repetition_penalty", chance.choice([0.8, 1.1, 1.5]))
    sometimes("frequency_penalty", chance.choice([-0.3, 0.4]))
    sometimes("presence_penalty", chance.choice([-0.5, 0.7]))
    sometimes("logit_bias", {token: chance.uniform(-4, 4) for token in tokens(3)}, 0.3)
    sometimes("bad_words", [tokens(1), tokens(2), tokens(3)], 0.3)
    sometimes("suppress_tokens", tokens(3), 0.3)
    sometimes("stop_token_ids", tokens(2))
    sometimes("min_new_tokens", chance.randint(1, 9))
    sometimes("stop", ["".join(chance.choice("abcd") for _ in range(chance.randint(1, 4))) for _ in range(2)], 0.3)
    sometimes("processors", [NoRepeatNGramLogitsProcessor(3)], 0.2)
    return options
