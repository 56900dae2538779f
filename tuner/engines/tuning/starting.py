"""Starts the engine again and again: as a process of ours, or by a command of the user's behind a URL."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from casspec.storage.engines.documents import EngineSetting
from casspec.storage.errors import EngineError
from casspec.storage.export.engine_file import file_text
from casspec.tuner.engines.endpoint import Answer, Endpoint
from casspec.tuner.engines.importable import importable
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.process import (
    READY_SECONDS,
    EngineFailed,
    EngineProcess,
    NotReady,
    free_port,
    last_reason,
    wait_until_answered,
)
from casspec.tuner.engines.protocol import Engine, Start

CONFIGURATION = "CASSPEC_SPECULATIVE_CONFIG"
"""Variable that a restart command finds the configuration in: as a file of it has it, or nothing for no speculation."""
STEPS = "steps.json"
"""What steps take, in the folder of a search."""
RESTART_SECONDS = 600.0


@dataclass(frozen=True)
class Instance:
    """An engine that takes requests. `seconds`: until it did."""

    engine: Engine
    endpoint: Endpoint
    model: str
    seconds: float
    process: EngineProcess | None = None

    def counters(self) -> Counters:
        """Raises EngineError where it tells none, EngineFailed where it has ended."""
        self.check()
        with self.watched():
            return read_counters(self.endpoint.get(self.engine.counters.path), self.engine.counters)

    def forget(self) -> None:
        """Makes it forget what drafts could be copied from of earlier requests. Raises EngineError where it does not."""
        if self.engine.forget_path is not None:
            with self.watched():
                self.endpoint.get(self.engine.forget_path)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever fails inside is told as the end of the engine, where it has ended."""
        try:
            yield
        except EngineError:
            if self.process is not None:
                self.process.check_soon()
            raise

    def check(self) -> None:
        """Raises EngineFailed where it has ended."""
        if self.process is not None:
            self.process.check()

    def check_answers(self, answers: Sequence[Answer]) -> None:
        """Raises EngineFailed where one is a failure."""
        failures = [answer.failure for answer in answers if answer.failure is not None]
        if failures:
            if self.process is not None:
                self.process.check_soon()
            raise EngineFailed(f"a request failed: {failures[0]}")


class Starter(Protocol):
    """Starts an engine with a setting."""

    @property
    def deciding(self) -> dict[str, str]:
        """Variables it is started with that decide figures; whoever serves needs them too."""

    def started(
        self, setting: EngineSetting, probe_file: Path | None = None, most_s: float = math.inf
    ) -> AbstractContextManager[Instance]:
        """A context in which it runs. Raises EngineFailed where it does not start, NotReady where that takes longer than `most_s`."""


@dataclass(frozen=True)
class OwnEngine:
    """An engine that is started here and ended when it is not asked any more.

    Args:
        start: what all starts have in common. folder: for logs and links. port: None takes a free one each time.
    """

    engine: Engine
    start: Start
    folder: Path
    port: int | None = None
    ready_s: float = READY_SECONDS
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def deciding(self) -> dict[str, str]:
        given = self.engine.variables(self.start).items()
        return {name: value for name, value in given if name in self.engine.deciding_variables}

    @contextmanager
    def started(
        self, setting: EngineSetting, probe_file: Path | None = None, most_s: float = math.inf
    ) -> Iterator[Instance]:
        """Raises EngineFailed where it does not start, NotReady after `most_s`, EngineError where the port is in use."""
        port = free_port(self.port)
        steps = self.folder / STEPS if (self.folder / STEPS).is_file() else None
        start = replace(
            self.start, setting=setting, port=port, probe_file=probe_file, steps_file=steps, folder=self.folder
        )
        log = self.folder / f"{self.engine.name}-{setting.content_hash()[:12]}.log"
        variables = self.variables | self.engine.variables(start) | _path(self.folder)
        ready, scratch = self.engine.ready_path, self.engine.scratch_variable
        with EngineProcess(self.engine.words(start), variables, log, port, ready, scratch) as process:
            seconds = process.wait_until_ready(min(self.ready_s, most_s))
            endpoint = Endpoint(process.url, None, self.engine.answer_ids)
            yield Instance(self.engine, endpoint, endpoint.served(), seconds, process)


@dataclass(frozen=True)
class RestartedEngine:
    """An engine of the user's behind a URL, whose command starts it anew with the configuration in `CASSPEC_SPECULATIVE_CONFIG`.

    The command returns once the old engine has ended; the new one may take its time. It is left running at the end.
    """

    engine: Engine
    url: str
    command: str
    folder: Path
    key: str | None = None
    ready_s: float = READY_SECONDS

    @property
    def deciding(self) -> dict[str, str]:
        return {}

    @contextmanager
    def started(
        self, setting: EngineSetting, probe_file: Path | None = None, most_s: float = math.inf
    ) -> Iterator[Instance]:
        """Raises EngineFailed where the command fails, NotReady where it or the engine takes longer than `most_s`."""
        told = self.engine.configuration(setting)
        variables = {CONFIGURATION: file_text(self.engine.name, told).strip() if told else ""} | _path(self.folder)
        if probe_file is not None:
            variables["CASSPEC_PROBE_FILE"] = str(probe_file)
        log = self.folder / "restart.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        self._restart(variables, log, min(RESTART_SECONDS, most_s))
        endpoint = Endpoint(self.url, self.key, self.engine.answer_ids)
        ready = f"{endpoint.url}{self.engine.ready_path}"
        wait_until_answered(ready, began + min(self.ready_s, most_s), lambda: None)
        yield Instance(self.engine, endpoint, endpoint.served(), time.monotonic() - began)

    def _restart(self, variables: dict[str, str], log: Path, most_s: float) -> None:
        with log.open("wb") as output:
            try:
                code = subprocess.run(
                    self.command,
                    shell=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **variables},
                    timeout=most_s,
                ).returncode
            except subprocess.TimeoutExpired:
                raise NotReady(f"the restart command did not return within {most_s:.0f} s") from None
        if code:
            raise EngineFailed(f"the restart command ended with code {code}: {last_reason(log)} (log: {log})")


def _path(folder: Path) -> dict[str, str]:
    """Where an engine finds casspec, before what the environment names, and where its numba, another than ours, keeps what it compiles.

    Modules in the current folder are not imported, as `vllm` by itself does not: a checkout of casspec holds a part of the package.
    """
    found = [str(importable(folder / "importable")), *filter(None, [os.environ.get("PYTHONPATH")])]
    compiled = os.environ.get("NUMBA_CACHE_DIR") or str(folder.parent / "numba")
    return {"PYTHONPATH": os.pathsep.join(found), "PYTHONSAFEPATH": "1", "NUMBA_CACHE_DIR": compiled}


def version_behind(url: str, key: str | None, engine: Engine) -> str:
    """Version of an engine that runs. Raises EngineError where it is not reached or tells none."""
    said = Endpoint(url, key).get(engine.version_path)
    try:
        return str(json.loads(said)[engine.version_field])
    except (ValueError, LookupError, TypeError):
        raise EngineError(f"{url}{engine.version_path} tells no version: is this {engine.name}?") from None
