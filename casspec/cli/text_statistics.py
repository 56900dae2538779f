"""What decoding a text did, in lines for the user, and what speculation gained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casspec.cli.console import say

if TYPE_CHECKING:
    from casspec.runtime.decode import Decoder
    from casspec.runtime.decoding.generation import Generation, Statistics

LEAST_GAIN = 1.02
"""Times faster than plain decoding that is called a gain."""


def print_statistics(decoder: Decoder, generation: Generation, n_prompt: int) -> None:
    """On stderr."""
    statistics = generation.statistics
    seconds = statistics.decode_ms / 1e3
    rate = statistics.emitted_tokens / seconds if seconds else 0.0
    say(
        f"{statistics.method}: {statistics.emitted_tokens} tokens in {seconds:.2f} s ({rate:.1f} tokens/s), "
        f"{statistics.verify_steps} verify steps, mean acceptance length {statistics.mean_acceptance_length:.2f}"
    )
    say(
        f"prefill {statistics.prefill_ms:.1f} ms, draft {statistics.draft_ms:.1f} ms, verify {statistics.verify_ms:.1f} ms, "
        f"overhead {statistics.overhead_ms:.1f} ms"
    )
    for name, rate in sorted(statistics.acceptance_by_drafter.items()):
        say(f"{name}: {statistics.accepted_by[name]} of {statistics.drafted_by[name]} accepted ({rate:.0%})")
    lengths = " ".join(f"{length}:{count}" for length, count in sorted(statistics.accepted_lengths.items()))
    if lengths:
        say(f"tokens a step: {lengths}")
    say(f"gain: {gain(decoder, statistics, n_prompt)}")


def gain(decoder: Decoder, statistics: Statistics, n_prompt: int) -> str:
    """How much faster than plain decoding the text came, and why where it did not. What a plain step takes is predicted by the profile,
    at the slowdown its own verifications had."""
    steps = statistics.verify_steps
    if statistics.method == "autoregressive":
        return "none: this is plain decoding"
    if steps == 0:
        return "none: nothing was decoded"
    if statistics.drafted_tokens == 0:
        return "none: nothing was drafted, since no candidate was worth its verification"
    guessed = f"{statistics.accepted_tokens} of {statistics.drafted_tokens} drafted tokens were right"
    if decoder.profile is None:
        return f"unknown without a profile; {statistics.mean_acceptance_length:.2f} tokens a step, {guessed}"
    from casspec.runtime.latency.predictor import LatencyPredictor

    forward_ms, plan = LatencyPredictor(decoder.profile.latency).forward_ms, decoder.target.full_plan
    context = n_prompt + statistics.emitted_tokens // 2
    plain_ms = forward_ms(plan, 1, context)
    verify_ms = forward_ms(plan, 1 + round(statistics.drafted_tokens / steps), context)
    slowdown = statistics.verify_ms / steps / verify_ms
    step = statistics.decode_ms / steps / (plain_ms * slowdown)
    times = statistics.mean_acceptance_length / step
    told = f"{statistics.mean_acceptance_length:.2f} tokens a step, which takes as long as {step:.2f} plain ones"
    if times >= LEAST_GAIN:
        return f"about {times:.2f}x of plain decoding ({told}; by the profile's latencies)"
    return f"none, about {times:.2f}x of plain decoding: {told}, for {guessed}"


def print_defaults(decoder: Decoder, given: dict[str, object]) -> None:
    """Which options came from the model's own generation config."""
    from casspec.runtime.loading.generation_defaults import model_defaults

    found = model_defaults(decoder.target)
    taken = {name: value for name, value in found.options.items() if given.get(name) is None}
    listed = ", ".join(f"{name}={_shown(value)}" for name, value in taken.items())
    left = f"; not taken: {', '.join(found.left_out)}" if found.left_out else ""
    say(f"from the model's generation config: {listed or 'nothing'}{left}")


def _shown(value: object) -> str:
    if isinstance(value, tuple) and value and callable(value[0]):
        return " ".join(type(one).__name__ for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
