"""A Ray cluster on this machine, whose parts can be killed: a head without devices, and nodes with one each."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from casspec.hub.fleet.joining import OBJECT_STORE_BYTES

ROOT = Path(__file__).parents[4]
STARTS_S = 60


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


class Machines:
    """Attributes: environment: of every process of the cluster, and of whoever connects to it; it holds the token."""

    def __init__(self, folder: Path, kinds: Sequence[str], told: Mapping[str, str]) -> None:
        self._folder, self._kinds, self._port = folder, kinds, free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
            **told,
        }
        self._log = folder / "starts.log"
        self._head: subprocess.Popen[bytes] | None = None
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._one_at_a_time = threading.RLock()

    def start(self) -> None:
        """The head, and a node for each kind; returns before they have joined."""
        words = ["--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        with self._one_at_a_time:
            self._head = self._started(*words)
            self._wait_for_head()
            for kind in self._kinds:
                self._start_node(kind)

    def _start_node(self, kind: str) -> None:
        self._nodes[kind] = self._started(f"--address={self.address}", f"--resources={json.dumps({kind: 1})}")

    def tend(self) -> None:
        """Starts nodes again that ended by themselves, as a service manager does."""
        with self._one_at_a_time:
            for kind, node in list(self._nodes.items()):
                if node.poll() is not None:
                    print(f"the node of {kind} ended by itself: {self._log.read_text()[-500:]}", flush=True)
                    self._start_node(kind)

    @contextmanager
    def tended(self) -> Iterator[None]:
        """By a thread, inside the block."""
        over = threading.Event()

        def tend() -> None:
            while not over.wait(0.5):
                self.tend()

        thread = threading.Thread(target=tend, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def restart_node(self, kind: str) -> None:
        """Kills its raylet, as a crash would, then the rest of it, and starts another."""
        with self._one_at_a_time:
            _kill(self._nodes.pop(kind), first="raylet")
            self._start_node(kind)

    def kill_head(self) -> None:
        """With all nodes, which do not outlive it."""
        with self._one_at_a_time:
            assert self._head is not None
            _kill(self._head, first="gcs_server")
            self._head = None
            for kind in list(self._nodes):
                _kill(self._nodes.pop(kind))

    def stop(self) -> None:
        if self._head is not None:
            self.kill_head()

    def _started(self, *words: str) -> subprocess.Popen[bytes]:
        own = [f"--object-store-memory={OBJECT_STORE_BYTES}", "--num-cpus=0", "--disable-usage-stats", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *own]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)

    def _wait_for_head(self) -> None:
        assert self._head is not None
        for _ in range(10 * STARTS_S):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            with suppress(subprocess.TimeoutExpired):
                self._head.wait(0.1)
                break
        raise AssertionError("the Ray head did not start")


@contextmanager
def machines(kinds: Sequence[str], told: Mapping[str, str]) -> Iterator[Machines]:
    """A cluster inside the block. Its folder has a short name: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = Machines(folder, kinds, told)
    try:
        cluster.start()
        with cluster.tended():
            yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _kill(process: subprocess.Popen[bytes], first: str = "") -> None:
    """A process with all it started; `first`: name of the one that goes before the others."""
    family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    for each in sorted(family, key=lambda one: _name(one) != first):
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    process.kill()
    process.wait()


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""
