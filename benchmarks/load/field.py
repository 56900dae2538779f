"""All servers, loaded one after another, and the rounds: every turn is asked of one server after the other, in shuffled order."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load.asked import Turn
from benchmarks.load.client import Drive, drive
from benchmarks.load.servers import Contender, Server, ServerFailed, Setup
from benchmarks.peers.engines import ENGINES
from benchmarks.peers.environments import PeerUnavailable, environment
from benchmarks.peers.stage import variables
from benchmarks.processes import Usage
from casspec.storage.schema import Mode
from casspec.tuner.engines.process import free_port


@dataclass(frozen=True)
class Measurement:
    """A turn of one server.

    Attributes:
        server_cpu_seconds: its own processor time meanwhile. waiting_cpu_seconds: that of the servers that had nothing to do.
    """

    server: str
    mode: Mode
    clients: int
    round: int
    drive: Drive
    server_cpu_seconds: float = 0.0
    waiting_cpu_seconds: float = 0.0


@dataclass
class Field:
    """A context that ends all servers.

    Attributes:
        lost: why a server takes no part, or no longer. load_seconds: until it was ready.
    """

    folder: Path
    """`environments/` and `logs/` lie in it; `environments` names another place for the former."""
    environments: Path
    setup: Setup
    servers: dict[str, Server] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    load_seconds: dict[str, float] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.end()

    def start(self, contenders: Iterable[Contender], again: bool = False) -> None:
        """Loads them, one at a time: loading computes too.

        Args:
            again: try installations that failed before once more.
        """
        for each in contenders:
            print(f"loading {each.name}", file=sys.stderr, flush=True)
            engine = ENGINES[each.engine]
            try:
                place = environment(engine, self.environments, again)
                port, log = free_port(), self.folder / "logs" / f"serving-{each.name}.log"
                words = each.words(place.python, port, self.setup)
                own = variables(engine, place, self.setup.cores)
                server = self.servers[each.name] = Server(words, own, log, port, each.ready)
                self.load_seconds[each.name] = server.wait_until_ready()
            except (PeerUnavailable, ServerFailed) as error:
                self._lose(each.name, str(error))

    def run(self, turns: Iterable[Turn], order: random.Random) -> None:
        """Turns of round 0 warm up and are not kept."""
        for turn in turns:
            names = list(self.servers)
            order.shuffle(names)
            print(f"round {turn.round}: {turn.mode}, {turn.clients} clients", file=sys.stderr, flush=True)
            for name in names:
                self._take(name, turn)

    def usages(self) -> dict[str, Usage]:
        """Of every server so far."""
        return {name: server.usage() for name, server in self.servers.items()}

    def _take(self, name: str, turn: Turn) -> None:
        server, before = self.servers[name], self.usages()
        done = drive(server.port, turn.bodies, turn.clients)
        after = self.usages()
        try:
            server.check()
        except ServerFailed as error:
            self._lose(name, str(error))
            return
        spent = {each: after[each].cpu_seconds - before[each].cpu_seconds for each in after}
        if turn.round:
            waiting = sum(seconds for each, seconds in spent.items() if each != name)
            own = Measurement(name, turn.mode, turn.clients, turn.round, done, spent[name], waiting)
            self.measurements.append(own)

    def _lose(self, name: str, reason: str) -> None:
        self.lost[name] = reason
        if name in self.servers:
            self.servers.pop(name).end()


def names_in_order(contenders: Sequence[Contender], measurements: Sequence[Measurement]) -> list[str]:
    """Of servers that were measured, as they were named."""
    measured = {each.server for each in measurements}
    return [each.name for each in contenders if each.name in measured]
