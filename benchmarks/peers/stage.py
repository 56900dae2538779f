"""Gets every row ready: its environment, its file, its process, loaded and warmed up. What fails is named and left out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.peers.engines import DRAFTED_TOKENS, ENGINES, Engine, Row
from benchmarks.peers.environments import Environment, PeerUnavailable, environment
from benchmarks.peers.files import ModelFiles
from benchmarks.peers.prompts import Question
from benchmarks.peers.race import Race
from benchmarks.peers.report import Entrant
from benchmarks.peers.worker import LOAD_SECONDS, Worker, WorkerDied


@dataclass
class Stage:
    """The workers of a race; a context that ends them all.

    Args:
        files: of the model.
        folder: `environments/` and `logs/` lie in it; `environments` names another place for the former.
        settings: what every worker is told: threads, context, profile, storage.
    """

    files: ModelFiles
    folder: Path
    environments: Path
    race: Race
    settings: Mapping[str, Any]
    workers: dict[Row, Worker] = field(default_factory=dict)
    entrants: dict[Row, Entrant] = field(default_factory=dict)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.end()

    def prepare(self, engines: Sequence[Engine], again: bool) -> dict[Row, tuple[Environment, Path]]:
        """Environment and file of every row that can take part. llama.cpp comes first: it makes files for others."""
        llama = ENGINES["llama.cpp"]
        found: dict[str, Environment] = {}
        for engine in sorted(engines, key=lambda each: each is not llama):
            try:
                found[engine.name] = environment(engine, self.environments, again)
            except PeerUnavailable as error:
                self._lose_all(engine, str(error))
        quantiser = found[llama.name].python if llama.name in found else None
        ready = {}
        for engine in engines:
            for row in engine.rows if engine.name in found else ():
                try:
                    ready[row] = found[engine.name], self.files.of(engine, row, quantiser)
                except PeerUnavailable as error:
                    self.race.lose(row, str(error))
        return ready

    def start(self, row: Row, place: Environment, file: Path, asked: Sequence[Question]) -> None:
        """Loads a row and warms it up, before the next one starts: loading computes too."""
        engine = ENGINES[row.engine]
        log = self.folder / "logs" / f"{row.name.replace('/', '-')}.log"
        worker = self.workers[row] = Worker(
            [str(place.python), str(engine.worker)], log, variables(engine, place, self._cores)
        )
        document = {
            "model": str(file),
            "method": row.method,
            "drafted_tokens": DRAFTED_TOKENS,
            **self.settings,
        }
        try:
            answer = worker.ask(document, LOAD_SECONDS)
        except WorkerDied as error:
            self.race.lose(row, f"{error}; see {log}")
            return
        if self.race.warm_up(row, worker, asked):
            self.entrants[row] = Entrant(answer["engine"], answer["seconds"], place.seconds)

    def observe(self) -> None:
        """Memory and idle load of the workers, as of now."""
        for row, entrant in self.entrants.items():
            worker = self.workers[row]
            self.entrants[row] = replace(entrant, peak_bytes=worker.usage().peak_bytes, idle_load=worker.idle_load)

    @property
    def _cores(self) -> list[int]:
        cores: list[int] = self.settings["cores"][: self.settings["threads"]]
        return cores

    def _lose_all(self, engine: Engine, reason: str) -> None:
        for row in engine.rows:
            self.race.lose(row, reason)


def variables(engine: Engine, place: Environment, cores: Sequence[int]) -> dict[str, str]:
    """Added to the environment of an engine's process: threads for these cores, and what its manual wants."""
    found = {"TOKENIZERS_PARALLELISM": "false", **engine.variables}
    if engine.binds_cores:
        found["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    else:
        found["OMP_NUM_THREADS"] = str(len(cores))
    library = place.python.parent.parent / engine.preloads if engine.preloads else None
    if library and library.is_file():
        found["LD_PRELOAD"] = " ".join(filter(None, (os.environ.get("LD_PRELOAD"), str(library))))
    return found
