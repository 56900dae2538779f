"""What an engine is asked while it is tuned: prompts of the tuning half as token ids, in groups that are asked together.

Each number of requests at a time has prompts of its own. Methods that draft from earlier answers would find the answer itself otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.prompts import Suite, prompt_ids, spread_over_tasks

GROUPS = 3
"""Drives of a setting at a concurrency in each start: what an interval comes from."""
LEAST_GROUP = 4
"""Requests of one."""


@dataclass(frozen=True)
class TokenRequest:
    """A prompt as the engine gets it."""

    id: str
    task: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Workload:
    """Prompts, and how many tokens are asked for at most.

    Attributes:
        max_context: tokens that a text may have; None where nobody knows.
        concurrency: numbers of requests at a time that share the prompts out among them.
        encode: token ids of a continuation.
    """

    requests: tuple[TokenRequest, ...]
    tokens: int
    max_context: int | None = None
    concurrency: tuple[int, ...] = ()
    encode: Callable[[str], Sequence[int]] | None = None

    @property
    def context(self) -> int:
        """Tokens of the longest text."""
        return max(len(request.ids) for request in self.requests) + self.tokens

    def of(self, concurrency: int) -> tuple[TokenRequest, ...]:
        """The prompts of one number of requests at a time; all where there are too few to share out."""
        size = len(self.requests) // max(1, len(self.concurrency))
        if concurrency not in self.concurrency or not size:
            return self.requests
        first = self.concurrency.index(concurrency) * size
        return self.requests[first : first + size]

    def ids(self, text: str) -> tuple[int, ...]:
        """Of what an engine wrote that tells none. Its own may differ where another cut gives the same text; () without a tokenizer."""
        return () if self.encode is None else tuple(self.encode(text))

    def asked(self, concurrency: int) -> list[TokenRequest]:
        """Its prompts, as often as it takes for so many to be under way: each equally often."""
        own = list(self.of(concurrency))
        return own * max(1, math.ceil(concurrency / len(own)))

    def warming(self, concurrency: int) -> list[TokenRequest]:
        """Texts as long as these prompts, which nobody answers alike: theirs, read backwards."""
        return [TokenRequest(f"warm {each.id}", each.task, each.ids[::-1]) for each in self.asked(concurrency)][
            :concurrency
        ]

    def with_room(self, tokens: int) -> tuple[TokenRequest, ...]:
        """Prompts that leave room for so many new tokens."""
        if self.max_context is None:
            return self.requests
        return tuple(each for each in self.requests if len(each.ids) + tokens <= self.max_context)

    def room(self, requests: Sequence[TokenRequest], most: int) -> int:
        """New tokens, `most` at most, that each of these leaves room for."""
        if self.max_context is None:
            return most
        return min(most, self.max_context - max(len(each.ids) for each in requests))

    def groups(self, concurrency: int) -> list[list[TokenRequest]]:
        """Several, of equally many requests, at least as many as are asked at a time; prompts come again where there are too few."""
        own = self.of(concurrency)
        size = max(LEAST_GROUP, concurrency, len(own) // GROUPS)
        cycle = [own[place % len(own)] for place in range(size * GROUPS)]
        return [cycle[first : first + size] for first in range(0, len(cycle), size)]

    def comes_again(self, concurrency: int) -> bool:
        """Whether a prompt is asked more than once with so many at a time."""
        return sum(map(len, self.groups(concurrency))) > len(self.of(concurrency))


def workload(
    suite: Suite, tokenizer: Any, n_prompts: int, tokens: int, max_context: int, concurrency: tuple[int, ...]
) -> Workload:
    """Prompts of the tuning half, tasks in turn, that leave room for `tokens` new ones: `n_prompts` for each number of requests at a time.

    Raises SuiteError where there is none.
    """
    asked = [
        TokenRequest(prompt.id, prompt.task, tuple(prompt_ids(prompt, tokenizer)))
        for prompt in spread_over_tasks(suite.half("tuning"), n_prompts * len(concurrency))
    ]
    found = tuple(request for request in asked if request.ids and len(request.ids) + tokens <= max_context)
    if not found:
        raise SuiteError(
            f"no prompt of suite '{suite.name}' leaves room for {tokens} new tokens in a context of {max_context}"
        )

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return Workload(found, tokens, max_context, concurrency, encode)


def copies(requests: Sequence[TokenRequest]) -> list[int]:
    """Of each request how many of the same prompt came before it: a prompt that comes again must not find its own prefix in a cache."""
    seen: dict[str, int] = {}
    found = []
    for each in requests:
        found.append(seen.get(each.id, 0))
        seen[each.id] = found[-1] + 1
    return found


def in_turns(requests: Sequence[TokenRequest]) -> list[TokenRequest]:
    """Tasks in turn, so that requests asked together are of several."""
    by_task: dict[str, list[TokenRequest]] = {}
    for request in requests:
        by_task.setdefault(request.task, []).append(request)
    found: list[TokenRequest] = []
    while any(by_task.values()):
        found += [queue.pop(0) for queue in by_task.values() if queue]
    return found
