"""Ray prints pages about machines that come and go, from threads and from C++. The operator gets a line of casspec's in their place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def only_own_lines() -> Iterator[Callable[[str], None]]:
    """What prints a line on standard error; inside the block all else that this process prints is dropped."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    nowhere = os.open(os.devnull, os.O_WRONLY)

    def say(line: str) -> None:
        os.write(kept[1], f"{line}\n".encode())

    with open(os.devnull, "w") as dropped:
        try:
            for descriptor in (1, 2):
                os.dup2(nowhere, descriptor)
            sys.stdout = sys.stderr = dropped
            yield say
        finally:
            sys.stdout, sys.stderr = streams
            for descriptor, own in zip((1, 2), kept, strict=True):
                os.dup2(own, descriptor)
                os.close(own)
            os.close(nowhere)
