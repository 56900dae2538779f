"""Counters of an engine, as it tells them in Prometheus' text format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from casspec.storage.errors import EngineError
from casspec.tuner.engines.protocol import CounterNames

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Counters:
    """What an engine has counted. An engine without speculation counts no drafts (None)."""

    generated: float
    drafts: float | None = None
    draft_tokens: float | None = None
    accepted_tokens: float | None = None
    accepted_by_position: tuple[float, ...] = ()

    @property
    def verifications(self) -> float:
        """Steps of all requests: each emits what it accepts and one token more."""
        return self.generated - (self.accepted_tokens or 0.0)

    def since(self, before: Self) -> Counters:
        """What came after `before`."""
        return Counters(
            self.generated - before.generated,
            _difference(self.drafts, before.drafts),
            _difference(self.draft_tokens, before.draft_tokens),
            _difference(self.accepted_tokens, before.accepted_tokens),
            tuple(
                later - (before.accepted_by_position[place] if place < len(before.accepted_by_position) else 0.0)
                for place, later in enumerate(self.accepted_by_position)
            ),
        )


def read_counters(text: str, names: CounterNames) -> Counters:
    """Of several processes of an engine added up. Raises EngineError where the engine's own are not among them."""
    sums: dict[str, float] = {}
    positions: dict[int, float] = {}
    for line in text.splitlines():
        found = None if line.startswith("#") else SAMPLE.match(line.strip())
        if found is None:
            continue
        name, labels, value = found.groups()
        try:
            number = float(value)
        except ValueError:
            continue
        sums[name] = sums.get(name, 0.0) + number
        if name == names.accepted_by_position:
            position = dict(LABEL.findall(labels or "")).get(names.position_label, "")
            if position.isdigit():
                positions[int(position)] = positions.get(int(position), 0.0) + number
    if names.generated not in sums and not names.is_late:
        raise EngineError(
            f"{names.path} tells no {names.generated}: it is another engine's, or its metrics are switched off"
        )
    by_position = tuple(positions.get(place, 0.0) for place in range(max(positions, default=-1) + 1))
    generated, drafts, draft_tokens, accepted = (
        None if name is None else sums.get(name)
        for name in (names.generated, names.drafts, names.draft_tokens, names.accepted_tokens)
    )
    if names.requests is not None and drafts is not None:
        accepted = max((generated or 0.0) - drafts - sums.get(names.requests, 0.0), 0.0)
    return Counters(generated or 0.0, drafts, draft_tokens, accepted, by_position)


def _difference(later: float | None, before: float | None) -> float | None:
    return None if later is None else later - (before or 0.0)
