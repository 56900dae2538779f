"""Texts of a benchmark against the autoregressive one: judged where they must be equal, listed with the gap of the scores elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from casspec.runtime.model.row_check import rows_are_independent
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import Entry
from casspec.tuner.bench.lossless.judge import Difference, Judge, first_difference, measured_difference
from casspec.tuner.bench.requests import Request, decoded


@dataclass(frozen=True)
class Divergence:
    """A place where a method's text left the autoregressive one."""

    method: str
    variant: str
    mode: Mode
    task: str
    prompt_id: str
    difference: Difference

    def listed(self) -> dict[str, Any]:
        """As JSON values, on one level."""
        return {name: value for name, value in vars(self).items() if name != "difference"} | asdict(self.difference)


class TextCheck:
    """Collects divergences; a place found again in another repeat is the same one."""

    def __init__(self, target: TargetModel) -> None:
        self._target = target
        self._judge = Judge(target)
        self._in_float32 = target.dtype == torch.float32
        self._found: dict[Divergence, None] = {}

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        return tuple(self._found)

    def of(self, entry: Entry, mode: Mode) -> tuple[Divergence, ...]:
        """What was found of one entry in one mode."""
        wanted = (entry.method, entry.variant, mode)
        return tuple(one for one in self._found if (one.method, one.variant, one.mode) == wanted)

    def judges(self, entry: Entry) -> bool:
        """Whether a divergence of this entry says anything about its exactness.

        Below float32 near ties flip where a row's bits change with the length of a forward, and a peer's forward is another one than ours.
        """
        return (self._in_float32 or rows_are_independent(self._target)) and not entry.is_peer

    def compare(self, entry: Entry, task: str, asked: Request, reference: list[int], text: list[int]) -> None:
        """Adds what sets `text` apart: all ties up to a bug where it is judged, else its first divergence."""
        place = first_difference(reference, text)
        if place is None:
            return
        if self._in_float32 and not entry.is_peer:

            def decode(prompt: list[int], count: int) -> list[int]:
                return decoded(entry.generator(task), asked, prompt, count)

            differences = self._judge.differences(reference, text, asked, decode)
        else:
            found = text[place] if place < len(text) else None
            differences = [measured_difference(self._target, reference, place, found, asked)]
        for difference in differences:
            divergence = Divergence(entry.method, entry.variant, asked.mode, task, asked.prompt_id, difference)
            self._found[divergence] = None


def text_sha256(token_ids: Sequence[int] | np.ndarray) -> str:
    """Tells texts apart: of the ids as little-endian int32."""
    return hashlib.sha256(np.asarray(token_ids, "<i4").tobytes()).hexdigest()
