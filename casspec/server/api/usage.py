"""What a request used: tokens, those that were known already, and what speculation did for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from casspec.runtime.policies.predicted import PREDICTION
from casspec.server.api.fields import StreamOptions
from casspec.server.replies import Told


def usage(told: Sequence[Told], n_prompt: int) -> dict[str, Any]:
    """`usage` of completions and chats.

    Args:
        n_prompt: tokens of all prompts, each counted once whatever `n` is.
    """
    emitted = sum(one.n_tokens for one in told)
    details = _prediction(told)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": emitted,
        "total_tokens": n_prompt + emitted,
        "prompt_tokens_details": {"cached_tokens": cached(told)},
        "completion_tokens_details": details,
        "speculation": speculation(told),
    }


def running_usage(wanted: StreamOptions, told: Sequence[Told], n_prompt: int) -> dict[str, Any]:
    """What a part of a stream says of usage: nothing, none before the end, or what was used so far."""
    if not wanted.include_usage:
        return {}
    return {"usage": usage(told, n_prompt) if wanted.continuous_usage_stats else None}


def response_usage(told: Told) -> dict[str, Any]:
    """`usage` of responses."""
    n_prompt = len(told.order.prompt)
    return {
        "input_tokens": n_prompt,
        "input_tokens_details": {"cached_tokens": cached([told]), "cache_write_tokens": 0},
        "output_tokens": told.n_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": n_prompt + told.n_tokens,
        "speculation": speculation([told]),
    }


def cached(told: Sequence[Told]) -> int:
    """Tokens of prompts that other texts had computed."""
    return sum(one.statistics.reused_tokens for one in told if one.order.sequence == 0)


def speculation(told: Sequence[Told]) -> dict[str, Any]:
    """What drafts came to: of all texts of a request."""
    parts = [one.statistics for one in told]
    steps, emitted = sum(part.verify_steps for part in parts), sum(part.emitted_tokens for part in parts)
    return {
        "method": next((part.method for part in parts if part.method), None),
        "steps": steps,
        "drafted_tokens": sum(part.drafted_tokens for part in parts),
        "accepted_tokens": sum(part.accepted_tokens for part in parts),
        "mean_acceptance_length": round(emitted / steps, 4) if steps else 0.0,
    }


def _prediction(told: Sequence[Told]) -> dict[str, int]:
    """Tokens of predictions that were accepted as drafts, and the others."""
    accepted = rejected = 0
    for one in told:
        length = len(one.order.options.get("prediction") or ())
        right = min(one.statistics.accepted_by[PREDICTION], length)
        accepted, rejected = accepted + right, rejected + length - right
    return {"accepted_prediction_tokens": accepted, "rejected_prediction_tokens": rejected, "reasoning_tokens": 0}
