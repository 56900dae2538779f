"""A hub from its first request to its last."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

GRACE_S = 3
"""What answers get to leave in; streams of events are cut."""


def run(app: FastAPI, place: socket.socket) -> None:
    """Serves on a socket that listens, until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        timeout_keep_alive=30,
    )
    try:
        uvicorn.Server(config).run(sockets=[place])
    except KeyboardInterrupt:
        return
