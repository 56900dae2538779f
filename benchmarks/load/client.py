"""Clients of a chat endpoint: what a stream brought and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casspec.tuner.engines.asked import CHAT
from casspec.tuner.engines.endpoint import Answer, Asked, Drive, Endpoint

__all__ = ["Answer", "Drive", "drive"]


def drive(port: int, bodies: Sequence[Mapping[str, Any]], clients: int, host: str = "127.0.0.1") -> Drive:
    """Asks all; each of `clients` asks its next when its last is answered."""
    return Endpoint(f"http://{host}:{port}").drive([Asked(CHAT, body) for body in bodies], clients)
