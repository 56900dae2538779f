"""A tiny model with recordings of it and made-up times of its forwards: what replays are tested on."""

from __future__ import annotations

from casspec.runtime.model.plan import Plan
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.recorded_sequence import Drafting
from tests.tuner.tiny import LAYERS, tiny_recordings, tiny_target

TARGET = tiny_target()

RECORDINGS = tiny_recordings(TARGET, n=4, n_tokens=64)

SPARSE = Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), LAYERS, "sparse")


def forward_ms(plan: Plan, n_tokens: int, context: int) -> float:
    """A forward of the target takes 10 ms and a little a token, of other plans by their sub-layers."""
    return 10.0 * (plan.n_attention + plan.n_mlp) / (2 * LAYERS) + 0.2 * n_tokens


def verify_ms(n_tokens: int, context: int) -> float:
    return forward_ms(TARGET.full_plan, n_tokens, context)


def of_mode(mode: str) -> list[Recording]:
    return [recording for recording in RECORDINGS if recording.mode == mode]


def drafting(plan: Plan, recordings: list[Recording] = RECORDINGS) -> Drafting:
    """What a plan says on the recordings, traced at the depths it has in a block."""
    meter = AcceptanceMeter(TARGET, recordings, candidates=12, probabilities=True)
    traced = TracedPlan({(one.prompt_id, one.mode): meter.depth_profile(plan, i) for i, one in enumerate(recordings)})
    return Drafting(lambda asked: traced, forward_ms)
