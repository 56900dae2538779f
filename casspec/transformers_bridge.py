"""The cascade inside transformers: `model.generate(**inputs, custom_generate=casspec.custom_generate(profile))`.

`generate` prepares everything (configuration, logits processors, stopping criteria) and hands it to our callable. Whatever looks at one
text is honoured exactly (`casspec/library_request.py`), anything else is refused by its name, never ignored. The rows of a batch are
decoded side by side.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation import GenerateDecoderOnlyOutput

from casspec.library_request import of_row, request_options
from casspec.runtime.batching.engine import BatchedText, BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.generation import Generation
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.session import Listener
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import AUTO, CascadeProfile

REFUSED_SETTINGS = {
    "num_beams": 1,
    "output_attentions": False,
    "output_hidden_states": False,
    "penalty_alpha": None,
    "dola_layers": None,
    "prompt_lookup_num_tokens": None,
    "assistant_early_exit": None,
    "constraints": None,
    "force_words_ids": None,
}
"""Settings of a GenerationConfig that work outside logits processors and stopping criteria, with the only value we serve."""


@dataclass(frozen=True)
class _Bound:
    """A decoder over a library model, and the memory its weights were in when it was built."""

    memory: tuple[Any, ...]
    decoder: Decoder


def custom_generate(
    profile: LoadedProfile | CascadeProfile | None = None,
    method: str = AUTO,
    parameters: dict[str, Any] | None = None,
    seed: int | None = None,
    streamer: Any = None,
    pack: bool = False,
    stop_strings: str | Several[str] = (),
    tokenizer: Any = None,
) -> Callable[..., Tensor | GenerateDecoderOnlyOutput]:
    """A callable for the `custom_generate` argument of transformers' `model.generate`.

    Greedy ids equal those of `model.generate` alone; sampled ids equal those of `Decoder.generate` with this `seed`. Keep the
    callable for further calls: it remembers the decoder of each model (weakly), and builds it again when weights have moved.
    Decoding ends at the end of the model's context.

    Args:
        profile: as for `Decoder`.
        method: as for `Decoder`.
        parameters: as for `Decoder`.
        seed: of the sampling noise; None draws one at each call.
        streamer: as `generate`'s own, which `generate` does not pass on to a custom callable.
        stop_strings, tokenizer: as `generate`'s own, which it does not pass on either; the strings need the tokenizer.
        pack: keeps a second copy of the weights in the order that the processor reads fastest. Decoding gets several times faster, at as
            much memory again; weights changed in place are not seen.

    The callable raises:
        UnsupportedOption: a beam search, or a logits processor or stopping criterion that looks beyond one text, by name.
        UnsupportedModel, ProfileMismatch: as `TargetModel` and `Decoder` do.
    """
    decoders: weakref.WeakKeyDictionary[Any, _Bound] = weakref.WeakKeyDictionary()

    def generate(
        model: Any,
        input_ids: Tensor,
        logits_processor: Iterable[Any] = (),
        stopping_criteria: Iterable[Any] = (),
        generation_config: Any = None,
        **model_inputs: Any,
    ) -> Tensor | GenerateDecoderOnlyOutput:
        _check_settings(generation_config)
        prompts = _prompts(input_ids, model_inputs)
        n_texts, width = input_ids.shape
        if streamer is not None and n_texts > 1:
            raise UnsupportedOption(f"a streamer can follow one text, got {n_texts}; leave it out or ask for one")
        do_sample = bool(generation_config.do_sample)
        padding = [width - len(prompt) for prompt, count in prompts for _ in range(count)]
        options, max_length = request_options(logits_processor, stopping_criteria, do_sample, width, padding)
        vocab_size = model.config.get_text_config().vocab_size
        for name in ("stop_token_ids", "suppress_tokens"):  # such as -1, for none
            options[name] = [token for token in options.get(name, ()) if 0 <= token < vocab_size]
        options |= {"max_new_tokens": max(max_length - width, 0), "seed": seed, "stop": stop_strings}
        wanted = _Wanted.of(generation_config, n_texts)
        options["keep_scores"] = wanted.scores or wanted.logits

        memory = _memory(model)
        bound = decoders.get(model)
        if bound is None or bound.memory != memory:
            bound = decoders[model] = _bind(model, tokenizer, profile, method, parameters, pack)
        listener = None
        if streamer is not None:
            streamer.put(input_ids.cpu())
            listener = Listener(on_tokens=lambda tokens: streamer.put(torch.tensor(tokens)))
        if seed is None and do_sample:
            options["seed"] = secrets.randbits(64)  # one for all rows

        def own(row: int) -> dict[str, Any]:
            shown = {"padding": input_ids[row, : padding[row]].tolist()}
            return options | shown | {"processors": of_row(options["processors"], row)}

        if len(prompts) == 1:  # computed once for all its texts
            ((prompt, count),) = prompts
            texts = bound.decoder.samples(prompt, count, listener=listener, **own(0))
        else:
            texts = _together(bound.decoder, prompts, own)
        if streamer is not None:
            streamer.end()
        return wanted.output(_padded(input_ids, texts, generation_config), texts)

    return generate


def _together(
    decoder: Decoder, prompts: list[tuple[list[int], int]], own: Callable[[int], dict[str, Any]]
) -> list[Generation]:
    """A text of each row, whose forwards run as one. Raises the error of the first that failed."""
    engine, rows = BatchEngine(decoder, keeps_prefixes=False), list[BatchedText]()
    for prompt, count in prompts:
        for _ in range(count):
            row = len(rows)
            rows.append(engine.submit(prompt, sequence=row, **own(row)))
    engine.run()
    return [text.result() for text in rows]


def _bind(
    model: Any,
    tokenizer: Any,
    profile: LoadedProfile | CascadeProfile | None,
    method: str,
    parameters: dict[str, Any] | None,
    pack: bool,
) -> _Bound:
    target = TargetModel(model, tokenizer, pack=pack)
    target.library_model = weakref.proxy(
        model
    )  # a strong reference would keep the model in the weak dictionary for ever
    return _Bound(_memory(model), Decoder(target, profile, method, parameters))


def _memory(model: Any) -> tuple[Any, ...]:
    """Where every weight lies and in which type: another value means moved or replaced weights."""
    return tuple((parameter.data_ptr(), parameter.dtype, parameter.device) for parameter in model.parameters())


def _check_settings(config: Any) -> None:
    for name, served in REFUSED_SETTINGS.items():
        value = getattr(config, name, None)
        if value is not None and value is not False and value != served:
            raise UnsupportedOption(
                f"casspec cannot honour {name}={value!r} in generate; leave it out or call generate without casspec"
            )


def _prompts(input_ids: Tensor, model_inputs: dict[str, Any]) -> list[tuple[list[int], int]]:
    """The prompts of a batch without their padding on the left, equal ones that follow each other as one, with their number.

    Raises UnsupportedOption for inputs other than whole prompts from position 0 on.
    """
    if model_inputs.get("inputs_embeds") is not None:
        raise UnsupportedOption("casspec cannot decode from inputs_embeds; pass input_ids")
    cache = model_inputs.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        raise UnsupportedOption("casspec cannot go on from past_key_values; pass the whole prompt as input_ids")
    mask = model_inputs.get("attention_mask")
    mask = torch.ones_like(input_ids) if mask is None else mask.long()
    if mask.shape != input_ids.shape or bool((mask.diff(dim=-1) < 0).any()) or not bool(mask[:, -1].all()):
        raise UnsupportedOption(
            "casspec honours an attention_mask whose zeros stand on the left; pad there or not at all"
        )
    positions = model_inputs.get("position_ids")
    if positions is not None:
        expected = (mask.cumsum(-1) - 1) * mask
        if not torch.equal(positions.expand_as(mask) * mask, expected):
            raise UnsupportedOption("casspec cannot honour position_ids; positions count from 0")
    prompts: list[tuple[list[int], int]] = []
    for row, own in zip(input_ids.tolist(), mask.sum(-1).tolist(), strict=True):
        prompt = row[len(row) - own :]
        if prompts and prompts[-1][0] == prompt:
            prompts[-1] = prompt, prompts[-1][1] + 1
        else:
            prompts.append((prompt, 1))
    return prompts


def _padded(input_ids: Tensor, texts: Several[Generation], config: Any) -> Tensor:
    """Prompts and texts [rows, longest]; what ended before the longest is filled up as `generate` does."""
    longest = max(len(text.token_ids) for text in texts)
    padding = getattr(config, "_pad_token_tensor", None)
    padding = config.pad_token_id if padding is None else int(padding)
    rows = [[*text.token_ids, *[padding or 0] * (longest - len(text.token_ids))] for text in texts]
    return torch.cat((input_ids, input_ids.new_tensor(rows).reshape(len(texts), longest)), dim=-1)


@dataclass(frozen=True)
class _Wanted:
    """What `generate` is to return beside the ids."""

    as_dict: bool
    scores: bool
    logits: bool

    @classmethod
    def of(cls, config: Any, n_texts: int) -> _Wanted:
        """Raises UnsupportedOption for scores of several texts: after its end a text has none."""
        as_dict = bool(config.return_dict_in_generate)
        scores, logits = as_dict and bool(config.output_scores), as_dict and bool(config.output_logits)
        if (scores or logits) and n_texts > 1:
            raise UnsupportedOption("casspec returns scores of one text at a time; ask for one")
        return cls(as_dict, scores, logits)

    def output(self, ids: Tensor, texts: Several[Generation]) -> Tensor | GenerateDecoderOnlyOutput:
        if not self.as_dict:
            return ids
        return GenerateDecoderOnlyOutput(
            sequences=ids,  # type: ignore[arg-type]
            scores=tuple(texts[0].scores) if self.scores else None,  # type: ignore[arg-type]
            logits=tuple(texts[0].raw_scores) if self.logits else None,  # type: ignore[arg-type]
        )
