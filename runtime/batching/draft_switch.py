"""Whether a batch drafts at all: what is measured of rounds with drafts and without decides, for each size of the batch and decoding mode.

What a method does outside forwards it does for one text after the other, so the more texts there are, the more its drafts have to bring. No
latency model knows that, and the rounds tell. What a profile predicts of a batch is believed until they do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from casspec.runtime.batching.stream_gate import StreamGate

TRIED = 6
"""Rounds of either kind before they are compared, where nothing is predicted."""

EVERY, AFTER, AGAIN = 96, 16, 4
"""Of so many rounds, after the first few, those that look again at what is not done; the first of these says nothing."""

SELDOM, CLEAR_LOSS, AS_BEFORE = 768, 0.9, 0.05
"""What is slower by as much, and was found as it was before, is looked at half as often, at least once in so many rounds."""

MEMORY = 0.95
"""Weight of the past in a rate, a round."""

SPIKE = 4.0
"""A round counts for up to so many times what rounds of its kind usually take: the machine was busy elsewhere."""

LEAD = 1.02
"""What rounds with drafts must be faster by: those without are the surer thing."""


@dataclass(slots=True)
class _Rate:
    """Tokens a millisecond."""

    tokens: float = 0.0
    milliseconds: float = 0.0
    weight: float = 0.0
    """Rounds, the older the less."""
    rounds: int = 0

    def add(self, tokens: int, milliseconds: float) -> None:
        if self.weight:
            milliseconds = min(milliseconds, SPIKE * self.milliseconds / self.weight)
        self.weight = self.weight * MEMORY + 1.0
        self.tokens = self.tokens * MEMORY + tokens
        self.milliseconds = self.milliseconds * MEMORY + milliseconds
        self.rounds += 1

    @property
    def value(self) -> float:
        return self.tokens / self.milliseconds if self.milliseconds else 0.0


@dataclass(slots=True)
class _Size:
    """Of batches of about one size."""

    drafting: _Rate = field(default_factory=_Rate)
    plain: _Rate = field(default_factory=_Rate)
    predicted: bool | None = None
    place: int = 0
    """Of the round, between one look and the next."""
    every: int = EVERY
    gain_before: float = 1.0

    def looks(self, pays: bool) -> bool:
        """Whether the next round looks at what is not done, given what is."""
        self.place += 1
        gain = self.gain or 1.0
        if self.place == AFTER:
            self.gain_before = gain
        if self.place == AFTER + AGAIN:
            loses = (1 / gain if pays else gain) < CLEAR_LOSS and abs(gain / self.gain_before - 1) < AS_BEFORE
            self.every = min(2 * self.every, SELDOM) if loses else EVERY
        if self.place >= self.every:
            self.place = 0
        return AFTER <= self.place < AFTER + AGAIN

    @property
    def pays(self) -> bool | None:
        """Whether drafts pay, as far as anybody knows."""
        if min(self.drafting.rounds, self.plain.rounds) < (TRIED if self.predicted is None else AGAIN - 1):
            return self.predicted
        return self.drafting.value >= self.plain.value * LEAD

    @property
    def gain(self) -> float | None:
        """How many times faster rounds with drafts were; None before both kinds ran."""
        return self.drafting.value / self.plain.value if self.drafting.value and self.plain.value else None


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of batches of about one size.

    Attributes:
        n_texts: their least size; the largest is one less than twice that. mode: of decoding, or "mixed".
        drafts: whether they draft, but for rounds that look again at what is not done.
        gain: how many times faster rounds with drafts were measured to be than those without; None before both ran.
    """

    n_texts: int
    mode: str
    drafts: bool
    gain: float | None


class DraftSwitch:
    """Says before each round whether it drafts, and is told after it what it brought.

    Args:
        predicted: whether drafts are predicted to pay for so many texts of a decoding mode; None where nobody knows.

    Attributes:
        drafts: whether texts draft that begin a step now: in the round under way, to be verified in the next.
    """

    def __init__(self, predicted: Callable[[int, str], bool | None] = lambda n_texts, mode: None) -> None:
        self._predicted = predicted
        self._sizes: dict[tuple[int, str], _Size] = {}
        self._size: _Size | None = None  # of the round under way
        self._gate, self._lone = StreamGate(), ""
        self.drafts = self._verified_drafts = True

    @property
    def said(self) -> list[Said]:
        """Of every size of batch and mode so far. Any thread may ask."""
        alone = [Said(1, mode, self._gate.is_on(mode), self._gate.gain(mode)) for mode in self._gate.modes]
        sizes = sorted(self._sizes.items())
        return alone + [Said(1 << (bits - 1), mode, size.pays is not False, size.gain) for (bits, mode), size in sizes]

    def begin_round(self, n_texts: int, mode: str) -> None:
        """A round of so many texts, of one decoding mode or "mixed"."""
        self._verified_drafts, self._lone = self.drafts, mode if n_texts == 1 else ""
        if n_texts == 1:
            self.drafts, self._size = self._gate.drafts(mode), None
            return
        key = n_texts.bit_length(), mode
        if key not in self._sizes:
            self._sizes[key] = _Size(predicted=self._predicted(n_texts, mode))
        size = self._size = self._sizes[key]
        pays = size.pays
        if pays is None:
            self.drafts = size.drafting.rounds < TRIED
        else:
            self.drafts = pays != size.looks(pays)

    def end_round(self, tokens: int, milliseconds: float) -> None:
        """What a round without rows of prompts brought; one in which texts stop or begin to draft says nothing."""
        if self.drafts != self._verified_drafts or not tokens:
            return
        if self._lone:
            self._gate.end_step(self._lone, tokens, milliseconds)
        size = self._size
        if size is None:
            return
        (size.drafting if self.drafts else size.plain).add(tokens, milliseconds)
