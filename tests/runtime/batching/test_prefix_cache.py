"""Kept texts: the longest common beginning is copied, the longest unused goes first."""

from __future__ import annotations

import torch

from casspec.runtime.batching.prefix_cache import LEAST_TOKENS, KeptText, PrefixCache
from casspec.runtime.model.kv_cache import KVCache, LayerRows

SHAPE = [LayerRows(1, 2, 1, 2)]


def kept(tokens: list[int], mark: float, top: int = 0) -> KeptText:
    cache = KVCache(SHAPE, 128)
    for part in cache.rows(0):
        part.fill_(mark)
    return KeptText(tokens, cache, ([[token] for token in tokens[:top]], [[0.0]] * top))


def test_the_longest_common_beginning_is_copied_and_no_more() -> None:
    prefixes, goal = PrefixCache(), KVCache(SHAPE, 128)
    prefixes.keep(kept(list(range(20)), 1.0))
    prefixes.keep(kept([*range(30), 99, 98], 2.0))
    known = prefixes.into(list(range(60)), goal)
    assert known is not None
    assert known.n_tokens == 30
    assert torch.equal(goal.rows(0)[0][:31, 0, 0], torch.tensor([2.0] * 30 + [0.0]))
    assert (prefixes.hits, prefixes.reused_tokens) == (1, 30)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    prefixes = PrefixCache()
    prefixes.keep(kept(list(range(40)), 1.0))
    known = prefixes.into(list(range(40)), KVCache(SHAPE, 128))
    assert known is not None
    assert known.n_tokens == 39


def test_short_beginnings_are_passed_over_and_successors_come_along() -> None:
    prefixes = PrefixCache()
    prefixes.keep(kept(list(range(40)), 1.0))
    other = [*range(LEAST_TOKENS - 1), *[7] * 40]
    assert prefixes.into(other, KVCache(SHAPE, 128)) is None
    prefixes.keep(kept(list(range(100, 140)), 1.0, top=40))
    known = prefixes.into(list(range(100, 150)), KVCache(SHAPE, 128))
    assert known is not None
    assert known.top[0][3] == [103]


def test_a_text_goes_that_another_continues_and_the_longest_unused_first() -> None:
    prefixes = PrefixCache()
    prefixes.keep(kept(list(range(20)), 1.0))
    prefixes.keep(kept(list(range(200, 240)), 2.0))
    prefixes.keep(kept(list(range(40)), 3.0))
    assert len(prefixes) == 2
    prefixes.into(list(range(200, 250)), KVCache(SHAPE, 128))
    assert prefixes.drop_oldest()
    assert prefixes.into(list(range(50)), KVCache(SHAPE, 128)) is None
    assert prefixes.n_bytes == kept([1], 1.0).n_bytes
    prefixes.clear()
    assert not prefixes.drop_oldest()
