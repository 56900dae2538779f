"""Names of processes that hold leases: they say which machine and process, so that the dead are known at once where one can look."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def holder_name() -> str:
    """Of this process, another one each time."""
    return f"{_machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def is_dead(holder: str) -> bool:
    """Whether a process of this machine has ended; of others nothing is known but their heartbeat."""
    machine, pid = (*holder.rsplit(":", 2), "", "")[:2]
    if os.name != "posix" or machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _is_zombie(int(pid))


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked how; what it held is free all the same."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("Z", "X")


def _machine() -> str:
    """Where a process ID says which process: containers may share a host's name, each with process IDs of its own."""
    try:
        return f"{socket.gethostname()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()
