"""Replay beside reality: what a replay predicts of the same prompts and as many tokens as a benchmark really decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from casspec.storage.schema import BenchReport, BenchText, Mode
from casspec.tuner.bench.entries import AS_CALIBRATED, AUTOREGRESSIVE, PUBLISHED
from casspec.tuner.bench.lossless.text_check import text_sha256
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE
from casspec.tuner.replay.run import Played, by_mode_and_task
from casspec.tuner.replay.simulate import Replayed
from casspec.tuner.settings import CalibrationSettings


@dataclass(frozen=True)
class Gap:
    """One method on one task in one mode, both ways."""

    method: str
    variant: str
    mode: Mode
    task: str
    predicted_speedup: float
    measured_speedup: float
    predicted_length: float
    measured_length: float
    """Mean acceptance length."""
    n_prompts: int

    @property
    def speedup_gap(self) -> float:
        """Predicted over measured, less one: above zero replay promised too much."""
        return self.predicted_speedup / self.measured_speedup - 1

    @property
    def length_gap(self) -> float:
        return self.predicted_length / self.measured_length - 1

    def listed(self) -> dict[str, Any]:
        """As JSON values, gaps among them."""
        return asdict(self) | {"speedup_gap": self.speedup_gap, "length_gap": self.length_gap}


def comparable(
    reports: Sequence[BenchReport], settings: CalibrationSettings, modes: Sequence[Mode]
) -> BenchReport | None:
    """The newest report (they come first) that decoded in one of `modes`, of the suite, noise and temperature that recordings of a
    calibration have; reports of earlier versions, which do not tell their texts, are passed over.
    """
    wanted = {
        "suite_sha256": settings.suite_sha256,
        "seed": settings.seed,
        "temperature": settings.record.temperature,
        "warm": False,
        "interrupted": False,
        "prompts_left_out": [],
    }
    if settings.record.long == "skip":
        wanted["prompts_cut"] = []
    for report in reports:
        told = {"temperature": SAMPLING_TEMPERATURE, "prompts_cut": []} | report.environment
        if any(text.mode in modes for text in report.texts) and all(
            told.get(name) == value for name, value in wanted.items()
        ):
            return report
    return None


def gaps(played: Iterable[Played], report: BenchReport, same_texts: bool = False) -> list[Gap]:
    """Of every method that both know, on the prompts that both decoded for as many tokens, by mode, task and all tasks together.

    dytc is compared as it decodes and, where it was also decoded as calibrated, the way it is replayed, with that.

    Args:
        same_texts: only prompts whose text came out as it was recorded. Below float32 a near tie falls either way with the length
            of a forward, and what follows is another text, which may be easier or harder to draft than the one replayed.
    """
    known = {(text.method, text.variant, text.mode, text.prompt_id): text for text in report.texts}
    found = []
    for one in played:
        for variant in one.variant, AS_CALIBRATED:
            paired = []
            for recording, replayed in one.texts:
                mode, prompt_id = recording.mode, recording.prompt_id
                text = known.get((one.method, variant, mode, prompt_id))
                plain = known.get((AUTOREGRESSIVE, PUBLISHED, mode, prompt_id))
                if text is None or plain is None or text.n_tokens != replayed.emitted_tokens:
                    continue
                if not same_texts or text.text_sha256 == text_sha256(recording.continuation_tokens):
                    paired.append((recording, (replayed, text, plain)))
            found += [
                _gap(one.method, variant, mode, task, [pair for _, pair in pairs])
                for (mode, task), pairs in by_mode_and_task(paired).items()
            ]
    return found


def _gap(
    method: str, variant: str, mode: Mode, task: str, pairs: Sequence[tuple[Replayed, BenchText, BenchText]]
) -> Gap:
    total = Replayed()
    for replayed, _, _ in pairs:
        total.add(replayed)
    real_ms, steps = sum(text.decode_ms for _, text, _ in pairs), sum(text.verify_steps for _, text, _ in pairs)
    return Gap(
        method,
        variant,
        mode,
        task,
        total.speedup,
        sum(plain.decode_ms for _, _, plain in pairs) / real_ms,
        total.mean_acceptance_length,
        sum(text.n_tokens for _, text, _ in pairs) / steps,
        len(pairs),
    )
