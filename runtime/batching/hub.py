"""Forwards of many texts run as one.

Each text runs on a stack of its own (a greenlet), as if it were alone. Where it asks the target for a forward, it waits. When all wait,
those that want the same plan get one forward. So a method needs to know nothing of the others: its drafts, its reviews and its
verification are joined with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from greenlet import greenlet
from torch import Tensor

from casspec.runtime.batching.costs import BatchCosts
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.joint_input import JointInput, JointPart
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.model.transfers import to_device
from casspec.runtime.watch.profile_watch import ProfileWatch


@dataclass(slots=True)
class Unread:
    """What a text waits to read from the device [rows, any]."""

    answers: Tensor


@dataclass(slots=True)
class Ask:
    """A forward that a text waits for.

    Attributes:
        wanted: rows of it whose logits are read, None for all; of a prompt that only fills the cache it is empty.
        fills: whether it is of a prompt.
    """

    inputs: ForwardInput
    cache: KVCache
    plan: Plan
    wanted: list[int] | None
    fills: bool

    @property
    def n_rows(self) -> int:
        return self.inputs.n_tokens or self.inputs.token_ids.numel()

    @property
    def rows(self) -> Sequence[int]:
        return range(self.n_rows) if self.wanted is None else self.wanted


class JointTarget:
    """A target whose forwards wait for those of other texts; everything else is the model's own."""

    def __init__(self, target: TargetModel) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> JointTarget:
        return self

    def forward(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None = None) -> Tensor:
        """As of the model: logits of the rows asked for."""
        rows = None if wanted is None else wanted.tolist()
        logits: Tensor = self._asked(Ask(inputs, cache, plan, rows, fills=False))
        return logits

    def fill(self, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: list[int]) -> Tensor:
        """As of the model: a chunk of a prompt, which other texts need not wait for."""
        logits: Tensor = self._asked(Ask(inputs, cache, plan, wanted, fills=True))
        return logits

    def heard(self, answers: Tensor) -> np.ndarray:
        """As of the model; what other texts read of the same forward is read with it."""
        found: np.ndarray = self._asked(Unread(answers))
        return found

    def _asked(self, ask: Ask | Unread) -> Any:
        waiting = greenlet.getcurrent()
        assert waiting.parent is not None, "a text of a batch runs on a stack of its own"
        return waiting.parent.switch(ask)


class Strand:
    """One text on a stack of its own.

    Attributes:
        ask: the forward it waits for; None where it has ended, or reads. unread: what it waits to read; None where it does not.
    """

    def __init__(self, run: Callable[[], None]) -> None:
        self._stack = greenlet(run)
        self.ask: Ask | None = None
        self.unread: Unread | None = None

    def start(self) -> None:
        self._go_on()

    def resume(self, found: Tensor | np.ndarray) -> None:
        """Hands it what it waits for; it runs until it waits again or ends."""
        self._go_on(found)

    def stop(self) -> None:
        """Ends it where it waits."""
        if not self._stack.dead:
            self._stack.throw()
        self.ask = self.unread = None

    def _go_on(self, *given: Tensor | np.ndarray) -> None:
        asked = self._stack.switch(*given)
        self.ask = asked if isinstance(asked, Ask) else None
        self.unread = asked if isinstance(asked, Unread) else None


class Hub:
    """Runs the forwards that strands wait for.

    Args:
        prefill_rows: rows of prompts in a forward at most: what running texts wait for.
        watch: hears of forwards without rows of prompts.
    """

    def __init__(
        self, target: TargetModel, costs: BatchCosts, prefill_rows: int, watch: ProfileWatch | None = None
    ) -> None:
        self._target, self._costs, self._prefill_rows = target, costs, prefill_rows
        self._clock, self._watch = ForwardClock(target.device), watch

    def round(self, strands: Sequence[Strand]) -> None:
        """Every strand that waits gets one verification, or some of its prompt: first all that is drafted, then the target's forward."""
        full = self._target.full_plan.name
        while drafting := [strand for strand in strands if strand.ask and strand.ask.plan.name != full]:
            by_plan: dict[str, list[Strand]] = {}
            for strand in drafting:
                assert strand.ask is not None
                by_plan.setdefault(strand.ask.plan.name, []).append(strand)
            for together in by_plan.values():
                self._run(together)
        self._run(self._verified(strands))

    def _verified(self, strands: Sequence[Strand]) -> list[Strand]:
        """All that wait for the target's own forward, prompts as far as there is room for their rows."""
        chosen, room = list[Strand](), self._prefill_rows
        for strand in strands:
            if strand.ask is None:
                continue
            if strand.ask.fills:
                if strand.ask.n_rows > room and room < self._prefill_rows:
                    continue
                room -= strand.ask.n_rows
            chosen.append(strand)
        return chosen

    def _run(self, strands: list[Strand]) -> None:
        asks = [strand.ask for strand in strands if strand.ask is not None]
        if not asks:
            return
        plan, drafted = asks[0].plan, [ask for ask in asks if not ask.fills]
        if drafted:
            n_rows = sum(ask.n_rows for ask in drafted)
            context = sum(ask.inputs.length - ask.n_rows for ask in drafted) // len(drafted)
            self._costs.observe(plan, len(drafted), n_rows, context)
        if len(drafted) == len(asks):
            with self._clock.measure("joint", plan, n_rows, context):
                found = self._logits(asks, plan)
        else:
            found = self._logits(asks, plan)
        for strand, logits in zip(strands, found, strict=True):
            strand.resume(logits)
        while reading := [strand for strand in strands if strand.unread is not None]:
            self._read(reading)
        for ran in self._clock.recent():  # by now texts have read what it said
            predicted = self._costs.ran(plan, len(drafted), ran.n_tokens, ran.context_tokens, ran.milliseconds)
            if self._watch is not None:
                self._watch.forward(plan.name, predicted, ran.milliseconds)

    def _read(self, strands: list[Strand]) -> None:
        """Hands strands what they wait to read, all of one kind of number in one read."""
        by_kind: dict[torch.dtype, list[tuple[Strand, Tensor]]] = {}
        for strand in strands:
            assert strand.unread is not None
            by_kind.setdefault(strand.unread.answers.dtype, []).append((strand, strand.unread.answers))
        for together in by_kind.values():
            found = self._target.heard(torch.cat([answers.flatten() for _, answers in together]))
            ends = np.cumsum([answers.numel() for _, answers in together])
            for (strand, answers), numbers in zip(together, np.split(found, ends[:-1]), strict=True):
                strand.resume(numbers.reshape(answers.shape))

    def _logits(self, asks: list[Ask], plan: Plan) -> list[Tensor]:
        """Of each ask the rows it wants."""
        parts = [JointPart(ask.inputs, ask.cache, ask.n_rows) for ask in asks]
        places, first = list[int](), 0
        for ask in asks:
            places += [first + row for row in ask.rows]
            first += ask.n_rows
        whole = len(places) == first
        wanted = None if whole else to_device(places or [0], self._target.device)
        logits = self._target.joint_forward(JointInput(parts), plan, wanted)
        found, first = list[Tensor](), 0
        for ask in asks:
            n = len(ask.rows)
            found.append(logits[first : first + n])
            first += n
        return found
