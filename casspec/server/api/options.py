"""Options of the engine from the fields of a request."""

from __future__ import annotations

from typing import Any

from casspec.runtime.loading.generation_defaults import model_defaults
from casspec.server.api.fields import SampledFields, SharedFields
from casspec.server.api.messages import plain_text
from casspec.server.errors import ApiError, refused
from casspec.server.service import Service

PLAIN = "autoregressive"
"""The method that does not speculate."""

_SAME_NAME = ("temperature", "top_p", "min_p", "typical_p", "repetition_penalty", "ignore_eos")
_SAMPLED_SAME_NAME = ("stop", "presence_penalty", "frequency_penalty")


def check_model(service: Service, model: str) -> None:
    """Raises ApiError 404 for a model that is not served here."""
    if model != service.settings.model_name:
        raise ApiError(
            404,
            f"no model '{model}' is served here; '{service.settings.model_name}' is",
            "model",
            "model_not_found",
        )


def shared_options(service: Service, body: SharedFields) -> dict[str, Any]:
    """Those of every request; what is None comes from the model's generation config."""
    options = {name: getattr(body, name) for name in _SAME_NAME}
    vocab_size = service.engines.target.vocab_size
    options["top_k"] = vocab_size if body.top_k in (0, -1) else body.top_k  # none is left out
    options["min_new_tokens"] = body.min_tokens
    if body.stop_token_ids is not None:
        service.tokens.check(body.stop_token_ids, "stop_token_ids")
        own = () if body.ignore_eos else service.engines.target.eos_token_ids
        options["stop_token_ids"] = [*own, *body.stop_token_ids]
    return options


def sampled_options(service: Service, body: SampledFields, most_tokens: int) -> dict[str, Any]:
    """Those of completions and chats.

    Args:
        most_tokens: where neither request nor model say.
    """
    options = shared_options(service, body)
    options |= {name: getattr(body, name) for name in _SAMPLED_SAME_NAME}
    if isinstance(body.stop, list) and not body.stop:
        options["stop"] = None
    options["seed"] = None if body.seed is None else body.seed % (1 << 64)
    options["max_new_tokens"] = limit(service, _asked_tokens(body), most_tokens)
    if body.logit_bias is not None:
        options["logit_bias"] = _bias(service, body.logit_bias)
    if body.prediction is not None:
        options["prediction"] = service.tokens.encoded(plain_text(body.prediction.content), special=False)
    return options


def limit(service: Service, asked: int | None, usual: int) -> int:
    """Most tokens of a text: as asked, else as the model's generation config says, else as usual."""
    if asked is not None:
        return asked
    own: int = model_defaults(service.engines.target).options.get("max_new_tokens", usual)
    return own


def method_of(body: SharedFields) -> str | None:
    """The method that a request names; None for the server's own. Raises ApiError for one that contradicts itself."""
    asked = body.speculation
    if asked is None or (asked.enabled and asked.method is None):
        return None
    if asked.enabled:
        return asked.method
    if asked.method not in (None, PLAIN):
        raise refused("speculation.method", "speculation is not enabled; leave one of both out", "invalid_value")
    return PLAIN


def _asked_tokens(body: SampledFields) -> int | None:
    """By either of its names."""
    if body.max_tokens is None:
        return body.max_completion_tokens
    if body.max_completion_tokens not in (None, body.max_tokens):
        raise refused("max_tokens", "max_completion_tokens is another number; leave one of both out", "invalid_value")
    return body.max_tokens


def check_stream_options(body: SampledFields) -> None:
    """Raises ApiError for options of a stream that is none, and for usage that is wanted in every part and not at all."""
    if body.stream_options is None:
        return
    if not body.stream:
        raise refused("stream_options", "the answer is no stream; set stream", "invalid_value")
    if body.stream_options.continuous_usage_stats and not body.stream_options.include_usage:
        raise refused("stream_options.continuous_usage_stats", "set include_usage beside it", "invalid_value")


def _bias(service: Service, given: dict[str, float]) -> dict[int, float]:
    if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in given):
        raise refused("logit_bias", "its keys are token ids", "invalid_value")
    bias = {int(key): float(value) for key, value in given.items()}
    service.tokens.check(list(bias), "logit_bias")
    return bias
