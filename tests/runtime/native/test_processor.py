"""What the processor can do, and the line that says what is missing."""

from __future__ import annotations

import pytest
from numba.core import config

from casspec.runtime.native import processor, threads

AVX2 = frozenset({"avx", "avx2", "fma", "f16c"})
AVX512 = AVX2 | {"avx512f", "avx512bw"}


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is missing; what a test changes is undone."""
    monkeypatch.setattr(processor, "find_spec", lambda name: object())
    monkeypatch.setattr(processor, "features", lambda: AVX2)
    monkeypatch.setattr(threads, "library", lambda: object())
    return monkeypatch


def refusal() -> str | None:
    return processor.refusal.__wrapped__()


def test_nothing_is_refused_where_nothing_is_missing(has: pytest.MonkeyPatch) -> None:
    assert refusal() is None
    has.setattr(processor, "features", lambda: frozenset({"neon"}))
    assert refusal() is None


def test_what_is_missing_is_named(has: pytest.MonkeyPatch) -> None:
    with has.context() as patch:
        patch.setattr(threads, "library", lambda: None)
        assert "GNU OpenMP" in (refusal() or "")
    with has.context() as patch:
        patch.setattr(processor, "features", lambda: frozenset({"sse2"}))
        assert "fused multiply-add" in (refusal() or "")
    with has.context() as patch:
        patch.setattr(processor, "find_spec", lambda name: None)
        assert "numba" in (refusal() or "")
    has.setattr(config, "DISABLE_JIT", 1)
    assert "NUMBA_DISABLE_JIT" in (refusal() or "")


@pytest.mark.parametrize(
    ("features", "lanes", "wide", "bytes_"),
    [(AVX2, 8, False, False), (AVX512, 16, True, False), (AVX512 | {"avx512vnni"}, 16, True, True)],
)
def test_vectors_follow_the_processor(
    has: pytest.MonkeyPatch, features: frozenset[str], lanes: int, wide: bool, bytes_: bool
) -> None:
    has.setattr(processor, "features", lambda: features)
    found = processor.lanes(), processor.has_wide_registers(), processor.has_byte_products()
    assert found == (lanes, wide, bytes_)


def test_features_are_names_of_this_processor() -> None:
    assert processor.features()
    assert all(name == name.strip("+-, ") for name in processor.features())
