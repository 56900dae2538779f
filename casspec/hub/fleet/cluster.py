"""Ray, behind what a placer asks of it. Tasks are named functions, their arguments and results text; Ray tries none again."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from casspec.hub.fleet.access import LOCAL, answers_strangers, own_token, require_ray, require_token
from casspec.hub.fleet.joining import OBJECT_STORE_BYTES, own_resources
from casspec.hub.fleet.placer import Devices, Ended
from casspec.hub.fleet.task import run_placement
from casspec.storage.errors import FleetError, UnsupportedOption

RESERVED = frozenset({"CPU", "GPU", "memory", "object_store_memory"})
"""Resources of Ray's own; so are those with a colon."""

INTERRUPT_S = 8.0


class RayCluster:
    """A cluster that this process is connected to.

    Args:
        task: what runs a placement, a function of a module that every machine has.
    """

    def __init__(self, ray: Any, task: Callable[[str], str] = run_placement) -> None:
        self._ray = ray
        # A process of its own for each job: what a model holds of a GPU goes with it, and its end is its worker's.
        self._task = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(task)

    def devices(self) -> Mapping[str, Devices]:
        """By kind: the resources that `ray start` named on machines that are there."""
        found: dict[str, Devices] = {}
        for node in self._asked(self._ray.nodes):
            resources = node["Resources"] if node["Alive"] else {}
            for kind, count in resources.items():
                if kind not in RESERVED and ":" not in kind and count >= 1:
                    before = found.get(kind, Devices(0, False))
                    found[kind] = Devices(before.count + int(count), before.are_gpus or resources.get("GPU", 0) > 0)
        return found

    def place(self, document: str, kind: str, on_gpu: bool) -> Any:
        """A task that begins when a machine with the resource has it free."""
        task = self._task.options(resources={kind: 1}, num_gpus=1 if on_gpu else 0)
        return self._asked(lambda: task.remote(document))

    def ended(self, handles: Sequence[Any]) -> list[Ended]:
        """Tasks that returned, and tasks whose process or machine is gone."""
        if not handles:
            return []
        over, _ = self._asked(lambda: self._ray.wait(list(handles), num_returns=len(handles), timeout=0))
        return [self._result(handle) for handle in over]

    def interrupt(self, handles: Sequence[Any]) -> None:
        """Tasks hear a KeyboardInterrupt; those that do not begin yet are dropped."""
        for handle in handles:
            with suppress(Exception):
                self._ray.cancel(handle)
        if handles:
            self._asked(lambda: self._ray.wait(list(handles), num_returns=len(handles), timeout=INTERRUPT_S))

    def _result(self, handle: Any) -> Ended:
        try:
            return Ended(handle, document=self._ray.get(handle))
        except (self._ray.exceptions.RayError, OSError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Ended(handle, error=f"{type(error).__name__}: {(lines or [''])[-1]}"[:300])

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (self._ray.exceptions.RayError, OSError, RuntimeError) as error:
            raise FleetError(f"Ray is away ({type(error).__name__})") from error


@contextmanager
def connected(address: str, task: Callable[[str], str] = run_placement) -> Iterator[RayCluster]:
    """Reached inside the block: `local` for a cluster of this machine alone, `auto` for the one it is part of, or host:port.

    Raises UnsupportedOption for an address that is none or a cluster without a token, FleetError where it does not answer.
    """
    if "://" in address:
        raise UnsupportedOption(
            f"--ray {address}: run it on a machine of the cluster, with --ray auto or the head's HOST:PORT"
        )
    require_ray()
    own_token() if address == LOCAL else require_token()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        _connect(ray, address)
        for name, handler in handlers.items():
            signal.signal(name, handler)  # Ray has its own, which print and end the process at once
        yield RayCluster(ray, task)
    finally:
        with suppress(Exception):
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Raises FleetError, UnsupportedOption for a cluster that anybody can use."""
    own = _own_cluster() if address == LOCAL else {}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            namespace="casspec",
            **own,
        )
    except (ray.exceptions.RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise FleetError(f"Ray at {address} cannot be reached ({first[:200]})") from error
    head = ray.get_runtime_context().gcs_address
    if answers_strangers(head):
        raise UnsupportedOption(
            f"the Ray head at {head} takes orders from anybody who reaches it: start it with RAY_AUTH_MODE=token"
        )


def _own_cluster() -> dict[str, Any]:
    """Of this machine alone, with its devices."""
    return {"resources": own_resources(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
