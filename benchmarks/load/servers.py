"""Servers under test: how each is started, when it is ready, what it uses, and its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.engines import OFFLINE
from benchmarks.processes import Usage, usage
from casspec.tuner.engines.process import end_group

MODEL_NAME = "model"
"""By which requests name the model, whoever serves it."""
MOST_TEXTS = 32
"""Texts at a time that a server may decode: more than clients ask for."""
CACHE_GIB = 1
READY_SECONDS = 600
END_SECONDS = 20
LOOK_SECONDS = 0.2
HOST = "127.0.0.1"


class ServerFailed(Exception):
    """A server that did not start or has ended; the message is the reason in one line."""


@dataclass(frozen=True)
class Setup:
    """What all servers have in common.

    Attributes:
        model: a directory. context: tokens of the longest text. dtype: as both command lines spell it.
        profile, storage: of casspec; None is what it finds itself.
    """

    model: Path
    context: int
    cores: tuple[int, ...]
    dtype: str = "bfloat16"
    profile: str | None = None
    storage: str | None = None


Words = Callable[[Path, int, Setup], list[str]]
"""The command line from an interpreter, a port and the setup."""


def casspec_words(*more: str) -> Words:
    """`casspec serve` with further options."""

    def words(python: Path, port: int, setup: Setup) -> list[str]:
        found = [str(python), "-m", "casspec", "serve", str(setup.model), "--port", str(port), "--host", HOST]
        found += ["--served-model-name", MODEL_NAME, "--dtype", setup.dtype, "--threads", str(len(setup.cores))]
        found += ["--max-batch", str(MOST_TEXTS), "--kv-cache-gib", str(CACHE_GIB), "--access-log", "none"]
        found += ["--profile", setup.profile] if setup.profile else []
        found += ["--storage", setup.storage] if setup.storage else []
        return [*found, *more]

    return words


def vllm_words(python: Path, port: int, setup: Setup) -> list[str]:
    """vLLM's own server, threads and cache by its environment (`benchmarks/peers/engines.py`)."""
    found = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(setup.model)]
    found += ["--port", str(port), "--host", HOST, "--served-model-name", MODEL_NAME, "--dtype", setup.dtype]
    return [*found, "--max-model-len", str(setup.context), "--max-num-seqs", str(MOST_TEXTS)]


@dataclass(frozen=True)
class Contender:
    """One way to serve: its own process, its own lines of the tables.

    Attributes:
        engine: of `benchmarks.peers.engines`, which has its environment. ready: answers 200 once requests are taken.
    """

    name: str
    engine: str
    ready: str
    words: Words


CONTENDERS = {
    each.name: each
    for each in (
        Contender("casspec", "casspec", "/ready", casspec_words()),
        Contender("casspec-off", "casspec", "/ready", casspec_words("--method", "autoregressive")),
        Contender("vllm", "vllm", "/health", vllm_words),
    )
}


class Server:
    """A process that serves. A context that ends it, and all it started.

    Args:
        words: the command line. variables: added to the environment. log: what it prints.
        ready: path that answers 200 once requests are taken.
    """

    def __init__(self, words: Sequence[str], variables: Mapping[str, str], log: Path, port: int, ready: str) -> None:
        self.log, self.port, self._ready = log, port, ready
        self._started = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **OFFLINE, **variables},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> float:
        """Seconds since it was started. Raises ServerFailed where it ends or takes longer than `seconds`."""
        while time.monotonic() - self._started < seconds:
            self.check()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}{self._ready}", timeout=5):
                return time.monotonic() - self._started
            time.sleep(LOOK_SECONDS)
        raise ServerFailed(f"was not ready within {seconds:.0f} s; see {self.log}")

    def check(self) -> None:
        """Raises ServerFailed where it has ended."""
        code = self._process.poll()
        if code is not None:
            lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
            said = lines[-1][:200] if lines else "it printed nothing"
            raise ServerFailed(f"ended with code {code}: {said}; see {self.log}")

    def usage(self) -> Usage:
        """Memory and processor time of it and its children so far."""
        return usage(self._process)

    def end(self) -> None:
        end_group(self._process, END_SECONDS)
