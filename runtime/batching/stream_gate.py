"""Whether a text alone drafts: what steps with drafts and without have brought decides, for each decoding mode.

A cascade leaves out drafts that its costs say do not pay. Beside that it pays for looking, and other methods draft whatever it brings;
only a clock knows. Where drafting is clearly ahead, steps without are seldom tried; where it is behind, drafting is tried again
and again, at longer and longer intervals up to a limit, so that no switch is for good.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 64
"""Steps that are tried before they are judged."""

MEMORY = 0.98
"""Weight of the past in what steps took and brought, a step: about fifty count."""

LEAD = 1.02
"""What steps without drafts must be faster by: with these the text brings no news of what would be accepted."""

TRIED = 8
"""Steps without drafts at a time, to know what they take."""

CLEAR, CLEAR_WINDOWS = 1.25, 8
"""So many times faster, drafting goes on for so many windows before steps without are tried again; else for one."""

MOST_WINDOWS_OFF = 16
"""Longest that drafting stays off before it is tried again; each time that it fails twice as long, from one window on."""

SPIKE = 4.0
"""A step counts for up to so many times what steps of its kind usually take: the machine was busy elsewhere."""


@dataclass(slots=True)
class _Kind:
    """Steps of one kind, drafting or not."""

    tokens: float = 0.0
    milliseconds: float = 0.0
    steps: float = 0.0

    def add(self, tokens: int, milliseconds: float) -> None:
        if self.steps:
            milliseconds = min(milliseconds, SPIKE * self.milliseconds / self.steps)
        self.tokens = self.tokens * MEMORY + tokens
        self.milliseconds = self.milliseconds * MEMORY + milliseconds
        self.steps = self.steps * MEMORY + 1.0

    @property
    def rate(self) -> float:
        """Tokens a millisecond; 0 where nothing is known."""
        return self.tokens / self.milliseconds if self.milliseconds else 0.0


@dataclass(slots=True)
class _ModeGate:
    """Of one decoding mode. `left` steps are decided already."""

    drafting: _Kind = field(default_factory=_Kind)
    plain: _Kind = field(default_factory=_Kind)
    drafts: bool = True
    left: int = WINDOW
    windows_off: int = 0
    """How long drafting was off last; 0 while it pays."""

    def end_step(self, tokens: int, milliseconds: float) -> None:
        (self.drafting if self.drafts else self.plain).add(tokens, milliseconds)
        self.left -= 1
        if self.left <= 0:
            self._decide()

    def _decide(self) -> None:
        """Which kind of step is next, and for how many steps."""
        was_drafting = self.drafts
        if not self.plain.steps:
            self.drafts, self.left = False, TRIED
        elif self.plain.rate > LEAD * self.drafting.rate:
            self._decide_behind(was_drafting)
        elif was_drafting:
            self.windows_off = 0
            self.drafts, self.left = False, TRIED
        else:
            is_clear = self.drafting.rate > CLEAR * self.plain.rate
            self.drafts, self.left = True, WINDOW * (CLEAR_WINDOWS if is_clear else 1)

    def _decide_behind(self, was_drafting: bool) -> None:
        """Drafting is off, and tried for a window now and then."""
        if was_drafting or not self.windows_off:
            self.windows_off = min(2 * self.windows_off or 1, MOST_WINDOWS_OFF)
            self.drafts, self.left = False, WINDOW * self.windows_off
        else:
            self.drafting = _Kind()  # what drafts brought then says little of now
            self.drafts, self.left = True, WINDOW


class StreamGate:
    """Says before each step of a text alone whether it drafts, and is told after it what it brought. One for all such texts."""

    def __init__(self) -> None:
        self._modes: dict[str, _ModeGate] = {}

    def drafts(self, mode: str) -> bool:
        """Whether the next step of a text in this mode does."""
        return self._modes.setdefault(mode, _ModeGate()).drafts

    def end_step(self, mode: str, tokens: int, milliseconds: float) -> None:
        """What a step that went as `drafts` said emitted, and took."""
        self._modes.setdefault(mode, _ModeGate()).end_step(tokens, milliseconds)

    @property
    def modes(self) -> tuple[str, ...]:
        """Decoding modes that texts alone came in. Any thread may ask."""
        return tuple(self._modes)

    def is_on(self, mode: str) -> bool:
        """Whether drafting is not behind, whatever is tried just now."""
        gate = self._modes.get(mode)
        return gate is None or not gate.windows_off

    def gain(self, mode: str) -> float | None:
        """How many times faster steps with drafts lately were than those without; None before both were tried."""
        gate = self._modes.get(mode)
        if gate is None or not gate.plain.rate or not gate.drafting.rate:
            return None
        return gate.drafting.rate / gate.plain.rate
