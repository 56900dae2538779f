"""Replay beside reality, on fabricated replays and reports."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.storage.schema import BenchText
from casspec.tuner.bench.lossless.text_check import text_sha256
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.replay.reality import comparable, gaps
from casspec.tuner.replay.run import Played
from casspec.tuner.replay.simulate import Replayed
from casspec.tuner.settings import CalibrationSettings
from tests.storage import samples

N_TOKENS = 60


def recording(prompt_id: str, task: str) -> Recording:
    ids, none = np.arange(2 + N_TOKENS, dtype=np.int32), np.empty((2 + N_TOKENS, 0))
    return Recording(prompt_id, task, "sample", 0, 0.7, ids[:2], ids[2:], none.astype(np.int32), none)


RECORDINGS = [recording("p0", "copy"), recording("p1", "free"), recording("p2", "free")]


def played(*steps: int) -> Played:
    """dytc in so many steps of 2 ms on each recording, plain steps 1 ms."""
    texts = [
        (recording, Replayed(n, N_TOKENS, tree_nodes=9 * n, method_ms=2.0 * n, autoregressive_ms=1.0 * N_TOKENS))
        for recording, n in zip(RECORDINGS, steps, strict=True)
    ]
    return Played("dytc", "tuned", texts)


def text(recording: Recording, method: str, variant: str, steps: int, ms: float, as_recorded: bool = True) -> BenchText:
    ids = recording.continuation_tokens if as_recorded else recording.continuation_tokens[::-1]
    return BenchText(
        method=method,
        variant=variant,
        mode=recording.mode,
        task=recording.task,
        prompt_id=recording.prompt_id,
        text_sha256=text_sha256(ids),
        n_tokens=N_TOKENS,
        verify_steps=steps,
        decode_ms=ms,
    )


def report(*steps: int, parted: int = -1, variant: str = "tuned"):
    """dytc really took so many steps of 4 ms, a plain step 2 ms; the text at place `parted` is not as recorded."""
    plain = [text(recording, "autoregressive", "published", N_TOKENS, 2.0 * N_TOKENS) for recording in RECORDINGS]
    real = [
        text(recording, "dytc", variant, n, 4.0 * n, place != parted)
        for place, (recording, n) in enumerate(zip(RECORDINGS, steps, strict=False))
    ]
    return samples.bench_report(texts=(*plain, *real))


def test_gaps_are_of_sums_over_the_same_prompts() -> None:
    found = {gap.task: gap for gap in gaps([played(4, 6, 10)], report(5, 8, 12))}
    assert set(found) == {"copy", "free", "overall"}
    overall = found["overall"]
    assert (overall.predicted_length, overall.measured_length) == (3 * N_TOKENS / 20, 3 * N_TOKENS / 25)
    assert overall.length_gap == pytest.approx(0.25)
    assert (overall.predicted_speedup, overall.measured_speedup) == (3 * N_TOKENS / 40, 3 * N_TOKENS / 50)
    assert overall.speedup_gap == pytest.approx(0.25)
    assert found["free"].length_gap == pytest.approx(20 / 16 - 1)
    assert [found[task].n_prompts for task in ("copy", "free", "overall")] == [1, 2, 3]


def test_a_text_that_came_out_otherwise_is_left_out_of_the_same_texts() -> None:
    parted = report(4, 6, 30, parted=2)
    (overall,) = (gap for gap in gaps([played(4, 6, 10)], parted) if gap.task == "overall")
    (same,) = (gap for gap in gaps([played(4, 6, 10)], parted, same_texts=True) if gap.task == "overall")
    assert (overall.n_prompts, same.n_prompts) == (3, 2)
    assert overall.length_gap == pytest.approx(40 / 20 - 1)
    assert (same.length_gap, same.speedup_gap) == pytest.approx((0, 0))


def test_prompts_that_only_one_side_knows_are_not_compared() -> None:
    (overall,) = (gap for gap in gaps([played(4, 6, 10)], report(4)) if gap.task == "overall")
    assert overall.n_prompts == 1
    other = report(4, 6, 10).model_copy(update={"texts": ()})
    assert gaps([played(4, 6, 10)], other) == []


def test_dytc_as_calibrated_is_compared_too() -> None:
    found = gaps([played(4, 6, 10)], report(4, 6, 10, variant="as calibrated"))
    assert {gap.variant for gap in found} == {"as calibrated"}


def test_the_newest_benchmark_of_the_modes_asked_for_is_taken() -> None:
    settings = CalibrationSettings(suite="reference", suite_sha256="f" * 64)
    told = {"suite_sha256": settings.suite_sha256, "seed": settings.seed, "temperature": settings.record.temperature}
    told |= {"warm": False, "interrupted": False, "prompts_left_out": []}
    sampled = report(5, 8, 12).model_copy(update={"environment": told})
    greedy = sampled.model_copy(update={"texts": tuple(t.model_copy(update={"mode": "greedy"}) for t in sampled.texts)})
    cut_short = sampled.model_copy(update={"environment": told | {"interrupted": True}})
    newest_first = [cut_short, greedy, sampled]
    assert comparable(newest_first, settings, ("greedy", "sample")) is greedy
    assert comparable(newest_first, settings, ("sample",)) is sampled
    assert comparable([cut_short], settings, ("sample",)) is None
    cut = sampled.model_copy(update={"environment": told | {"prompts_cut": ["p0"]}})
    assert comparable([cut, sampled], settings, ("sample",)) is sampled, "its prompts are not those recorded"
    assert comparable([cut, sampled], settings.changed({"record": {"long": "cut"}}), ("sample",)) is cut
