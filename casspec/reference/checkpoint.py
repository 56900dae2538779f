"""Where an unfinished training waits: one file, replaced as a whole, so that a kill leaves the one before."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from casspec.storage.errors import UnsupportedOption

STATE_FILE = "training_state.pt"


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / f"{STATE_FILE}.{os.getpid()}.tmp"
    torch.save(state, unfinished)
    unfinished.replace(directory / STATE_FILE)


def load_checkpoint(directory: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state saved in `directory`, None when there is none.

    Raises UnsupportedOption when it belongs to a training with other settings or another corpus.
    """
    path = directory / STATE_FILE
    if not path.is_file():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    changed = sorted(key for key, value in settings.items() if state["settings"].get(key) != value)
    if changed:
        raise UnsupportedOption(
            f"{directory} holds an unfinished training with another {', '.join(changed)}: "
            "repeat its options to go on with it, or choose another --out"
        )
    return state


def remove_checkpoint(directory: Path) -> None:
    (directory / STATE_FILE).unlink(missing_ok=True)


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets in place of raising, so that a step ends before its state is saved; twice raises."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def remember(signal_number: int, frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
