"""transformers' own decoding of a tiny model, beside ours."""

from __future__ import annotations

import pytest

from benchmarks.gpu.measured.library import (
    EAGER,
    STATIC,
    StaticCachePeer,
    decode_library,
    decode_library_compiled,
)
from benchmarks.gpu.race import Course
from benchmarks.gpu.stages import Work
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import DeviceCeilings


def test_a_static_cache_changes_no_text_and_its_first_token_counts_as_prefill(target: TargetModel) -> None:
    prompt = [1, 2, 3, 4]
    generation = StaticCachePeer(target).generate(prompt, 10)
    statistics = generation.statistics
    assert generation.token_ids == Decoder(target, method="autoregressive").generate(prompt, 10).token_ids
    assert (statistics.emitted_tokens, statistics.verify_steps) == (10, 10)
    assert statistics.decode_ms > 0


def test_sampling_is_refused(target: TargetModel) -> None:
    with pytest.raises(UnsupportedOption, match="greedy"):
        StaticCachePeer(target).generate([1, 2], 4, temperature=0.7)


def test_the_library_stands_beside_plain_decoding(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, work: Work
) -> None:
    decode_library(work, target, ceilings, course)
    assert [(row["mode"], row["method"], row["prompts"]) for row in work.outcome.rows] == [
        ("greedy", "autoregressive", 2),
        ("greedy", "dytc", 2),
        ("greedy", EAGER, 2),
    ]
    assert work.outcome.rows[-1]["same_text"] == course.n_tokens


def test_a_static_cache_is_raced_on_one_prompt(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, work: Work
) -> None:
    decode_library_compiled(work, target, ceilings, course)
    assert [(row["method"], row["prompts"]) for row in work.outcome.rows][-1] == (STATIC, 1)
    assert "the library compiles on CUDA only" in work.outcome.notes
