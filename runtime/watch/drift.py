"""What a watch finds: a figure of the profile that what is served has left for good."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from casspec.storage.schema import Mode

IN_MODE = {"greedy": "in greedy decoding", "sample": "under sampling"}


@dataclass(frozen=True)
class Drift:
    """A figure that no longer is the profile's.

    Attributes:
        kind: acceptance, a share, or latency, how many times as long as predicted.
        subject: the drafter, or the plan. mode: of an acceptance.
        now: since it changed. calibrated: by the profile; 1 of a latency.
    """

    kind: Literal["acceptance", "latency"]
    subject: str
    mode: Mode | None
    now: float
    calibrated: float

    @property
    def says(self) -> str:
        """A line for logs and pages."""
        if self.kind == "latency":
            return (
                f"the profile no longer fits: forwards of {self.subject} take {self.now:.2g} times as long as predicted"
            )
        beside = f" {IN_MODE[self.mode]}" if self.mode else ""
        told = f"acceptance of {self.subject} {share(self.now)}, calibrated {share(self.calibrated)}{beside}"
        return f"the profile no longer fits: {told}"

    def remedy(self, model: str, suite: str | None, options: Sequence[str] = ()) -> str:
        """The command to run.

        Args:
            model: as it was named to casspec. suite: a file of recorded requests; None where there is none.
            options: of the command, without which it would calibrate for something else than is served.
        """
        command = " ".join(["casspec calibrate", *map(shlex.quote, (model, *options))])
        if self.kind == "latency":
            return command
        return f"{command} --suite {'FILE' if suite is None else shlex.quote(suite)}"


def share(value: float) -> str:
    """ ".81", "1.00"."""
    return f"{value:.2f}".removeprefix("0")
