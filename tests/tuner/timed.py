"""Text generators that take stated times on a machine whose speed may drift: races without a clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from casspec.runtime.decode import Generation
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Mode
from tests.tuner.text_generators import statistics


@dataclass
class Machine:
    """What was decoded on it, and how it slows down: every call takes `drift` times as long as the one before."""

    drift: float = 1.0
    slowness: float = 1.0
    calls: list[tuple[str, Mode, int]] = field(default_factory=list)
    """(name, mode, tokens) of every decode."""


class Timed:
    """Takes 1 ms a token over its speedup in that mode, and no prefill."""

    def __init__(self, machine: Machine, name: str, sample: float = 1.0, greedy: float | None = None) -> None:
        self._machine = machine
        self._name = name
        self._speedups: dict[Mode, float] = {"sample": sample, "greedy": sample if greedy is None else greedy}

    def generate(self, input_ids: list[int], max_new_tokens: int, temperature: float = 0.0, **_: Any) -> Generation:
        mode: Mode = "sample" if temperature else "greedy"
        self._machine.calls.append((self._name, mode, max_new_tokens))
        self._machine.slowness *= self._machine.drift
        decode_ms = max_new_tokens / self._speedups[mode] * self._machine.slowness
        return Generation([1] * max_new_tokens, statistics(max_new_tokens, max_new_tokens, decode_ms))


class Uneven(Timed):
    """By turns a third faster and a third slower than its speedup."""

    def __init__(self, machine: Machine, name: str, speedup: float) -> None:
        super().__init__(machine, name)
        self._mean, self._calls = speedup, 0

    def generate(self, input_ids: list[int], max_new_tokens: int, temperature: float = 0.0, **asked: Any) -> Generation:
        self._calls += 1
        speedup = self._mean * (4 / 3 if self._calls % 4 < 2 else 3 / 4)
        self._speedups = {"sample": speedup, "greedy": speedup}
        return super().generate(input_ids, max_new_tokens, temperature, **asked)


class Refusing:
    """Cannot decode on this machine."""

    def generate(self, input_ids: list[int], max_new_tokens: int, **_: Any) -> Generation:
        raise UnsupportedOption("no kernel here")
