"""The cascade inside transformers: `model.generate(**inputs, custom_generate=casspec.custom_generate(profile))`.

`generate` prepares everything (configuration, logits processors, stopping criteria) and hands it to our callable. What
changes the text in a way that lossless decoding covers is honoured: temperature, top-k, top-p, the length, the
end-of-sequence ids. Anything else is refused by its name, never ignored.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation import (
    EosTokenCriteria,
    LogitNormalization,
    MaxLengthCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import AUTO, CascadeProfile

REFUSED_SETTINGS = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "return_dict_in_generate": False,
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
) -> Callable[..., Tensor]:
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
        pack: keeps a second copy of the weights in the order that the processor reads fastest. Decoding gets several times faster, at as
            much memory again; weights changed in place are not seen.

    The callable raises:
        UnsupportedOption: a batch, a beam search, a logits processor or a stopping criterion it cannot honour, by name.
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
    ) -> Tensor:
        _check_settings(generation_config)
        _check_inputs(input_ids, model_inputs)
        sampling = _sampling(logits_processor, bool(generation_config.do_sample))
        max_length, stop_token_ids = _limits(stopping_criteria)

        memory = _memory(model)
        bound = decoders.get(model)
        if bound is None or bound.memory != memory:
            bound = decoders[model] = _bind(model, profile, method, parameters, pack)
        if streamer is not None:
            streamer.put(input_ids.cpu())
        generation = bound.decoder.generate(
            input_ids,
            max(max_length - input_ids.shape[1], 0),
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            seed,
            stop_token_ids,
            None if streamer is None else lambda tokens: streamer.put(torch.tensor(tokens)),
        )
        if streamer is not None:
            streamer.end()
        return torch.cat((input_ids, input_ids.new_tensor([generation.token_ids])), dim=-1)

    return generate


def _bind(
    model: Any,
    profile: LoadedProfile | CascadeProfile | None,
    method: str,
    parameters: dict[str, Any] | None,
    pack: bool,
) -> _Bound:
    target = TargetModel(model, pack=pack)
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


def _check_inputs(input_ids: Tensor, model_inputs: dict[str, Any]) -> None:
    """Refuses inputs other than one whole prompt from position 0 on."""
    if input_ids.shape[0] != 1:
        raise UnsupportedOption(f"casspec decodes one prompt at a time, got a batch of {input_ids.shape[0]}")
    if model_inputs.get("inputs_embeds") is not None:
        raise UnsupportedOption("casspec cannot decode from inputs_embeds; pass input_ids")
    mask = model_inputs.get("attention_mask")
    if mask is not None and not bool(mask.all()):
        raise UnsupportedOption("casspec cannot honour an attention_mask with zeros; pass the prompt without padding")
    positions = model_inputs.get("position_ids")
    if positions is not None and positions.flatten().tolist() != list(range(input_ids.shape[1])):
        raise UnsupportedOption("casspec cannot honour position_ids; positions count from 0")
    cache = model_inputs.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        raise UnsupportedOption("casspec cannot go on from past_key_values; pass the whole prompt as input_ids")


def _sampling(processors: Iterable[Any], do_sample: bool) -> Sampling:
    """Decoding parameters that logits processors stand for, which must come in the order we apply them in."""
    temperature, top_k, top_p, stage = 1.0, None, None, 0
    for processor in processors:
        kind, place = type(processor), stage
        if kind is TemperatureLogitsWarper and stage < 1:
            temperature, stage = float(processor.temperature), 1
        elif kind is TopKLogitsWarper and stage < 2:
            top_k, stage = processor.top_k, 2
        elif kind is TopPLogitsWarper and stage < 3:
            top_p, stage = processor.top_p, 3
        elif kind is LogitNormalization:
            continue  # adds a constant to all scores
        excludes_softly = getattr(processor, "filter_value", -torch.inf) != -torch.inf
        if stage == place or excludes_softly or getattr(processor, "min_tokens_to_keep", 1) > 1:
            raise UnsupportedOption(
                f"casspec cannot honour the logits processor {kind.__name__}; it decodes with temperature, top_k and top_p, "
                "in this order"
            )
    return Sampling(temperature, top_k, top_p) if do_sample else Sampling()


def _limits(criteria: Iterable[Any]) -> tuple[int, list[int]]:
    """The length of prompt and output together, and the ids that end the output."""
    max_length, stop_token_ids = None, []
    for criterion in criteria:
        if type(criterion) is MaxLengthCriteria:
            max_length = criterion.max_length if max_length is None else min(max_length, criterion.max_length)
        elif type(criterion) is EosTokenCriteria:
            stop_token_ids += torch.as_tensor(criterion.eos_token_id).flatten().tolist()
        else:
            raise UnsupportedOption(
                f"casspec cannot honour the stopping criterion {type(criterion).__name__}; it stops at end-of-sequence ids "
                "and at a length"
            )
    if max_length is None:
        raise UnsupportedOption("generate set no length for casspec to stop at; pass max_new_tokens")
    return max_length, stop_token_ids
