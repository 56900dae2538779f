"""Ray's interface, faked; `test_kills.py` has the real one."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.hub.fleet.cluster import RayCluster, connected
from casspec.hub.fleet.placer import Devices, Ended
from casspec.storage.errors import FleetError, UnsupportedOption
from tests.casspec.hub.fleet.machines import ROOT


class RayError(Exception):
    pass


class FakeRay:
    """As much of Ray as a cluster uses: tasks end when they are placed, by what their function returns or raises."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, nodes: list[dict[str, Any]] | None = None) -> None:
        self._nodes, self.asked, self.cancelled = nodes, list[dict[str, Any]](), list[Any]()

    def nodes(self) -> list[dict[str, Any]]:
        if self._nodes is None:
            raise RayError("the head is gone")
        return self._nodes

    def remote(self, **options: Any) -> Any:
        self.asked.append(options)

        def made(function: Any) -> Any:
            def placed(**more: Any) -> Any:
                self.asked.append(more)
                return SimpleNamespace(remote=lambda document: (function, document))

            return SimpleNamespace(options=placed)

        return made

    def wait(self, handles: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return handles[:num_returns], []

    def get(self, handle: Any) -> str:
        function, document = handle
        found: str = function(document)
        return found

    def cancel(self, handle: Any) -> None:
        self.cancelled.append(handle)


def lost(document: str) -> str:
    raise RayError("Task failed\nThe node is dead")


def test_devices_are_what_nodes_name_that_are_there() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "H200": 2.0, "node:10.0.0.1": 1.0, "memory": 1e9}},
        {"Alive": True, "Resources": {"GPU": 1.0, "H200": 1.0, "accelerator_type:H200": 1.0}},
        {"Alive": True, "Resources": {"cpu": 1.0, "object_store_memory": 1e8}},
        {"Alive": False, "Resources": {"L4": 1.0}},
    ]
    assert RayCluster(FakeRay(nodes)).devices() == {"H200": Devices(3, True), "cpu": Devices(1, False)}


def test_a_task_asks_for_its_device_and_is_tried_once() -> None:
    ray = FakeRay([])
    cluster = RayCluster(ray, str.upper)
    handle = cluster.place("document", "H200", on_gpu=True)
    assert ray.asked[0] == {"num_cpus": 0, "max_retries": 0, "max_calls": 1}
    assert ray.asked[1] == {"resources": {"H200": 1}, "num_gpus": 1}
    assert cluster.ended([handle]) == [Ended(handle, "DOCUMENT")]


def test_a_task_that_is_lost_ends_with_a_line() -> None:
    cluster = RayCluster(FakeRay([]), lost)
    handle = cluster.place("document", "cpu", on_gpu=False)
    assert cluster.ended([handle]) == [Ended(handle, error="RayError: The node is dead")]


def test_a_head_that_is_gone_is_one_kind_of_error() -> None:
    with pytest.raises(FleetError, match="Ray is away"):
        RayCluster(FakeRay()).devices()


def test_an_interrupt_reaches_every_task() -> None:
    ray = FakeRay([])
    RayCluster(ray).interrupt(["one", "other"])
    assert ray.cancelled == ["one", "other"]


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "http://10.0.0.1"])
def test_a_client_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(UnsupportedOption, match="machine of the cluster"), connected(address):
        pass


OWN_CLUSTER = """
import time
from casspec.hub.fleet.access import answers_strangers
from casspec.hub.fleet.cluster import connected
from tests.casspec.hub.fleet.stubs import shout
with connected("local", shout) as cluster:
    import ray
    print(dict(cluster.devices()))
    print("open" if answers_strangers(ray.get_runtime_context().gcs_address) else "closed")
    handle = cluster.place("document", next(iter(cluster.devices())), on_gpu=False)
    while not (over := cluster.ended([handle])):
        time.sleep(0.1)
    print(over[0].document)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'casspec[fleet]'")
def test_a_cluster_of_its_own_has_this_machine_and_a_token_nobody_knows() -> None:
    done = subprocess.run([sys.executable, "-c", OWN_CLUSTER], capture_output=True, text=True, timeout=250, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    devices, access, answer = done.stdout.splitlines()
    assert "Devices(count=" in devices
    assert (access, answer) == ("closed", "DOCUMENT")
