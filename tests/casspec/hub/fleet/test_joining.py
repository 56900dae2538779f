from __future__ import annotations

import shlex

import pytest

from casspec.hub.fleet.joining import HEAD, own_resources, ray_start


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["NVIDIA H200", "NVIDIA H200", "NVIDIA L4"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
    monkeypatch.setattr("torch.cuda.get_device_name", names.__getitem__)


@pytest.mark.usefixtures("gpus")
def test_a_machine_with_gpus_offers_each_by_its_name() -> None:
    assert own_resources() == {"NVIDIA H200": 2, "NVIDIA L4": 1}
    assert own_resources("big") == {"big": 3}


def test_a_machine_without_gpus_offers_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert own_resources() == {"cpu": 1}


def test_the_command_survives_a_shell_and_asks_for_a_token() -> None:
    words = shlex.split(ray_start("10.0.0.1:6379", {"NVIDIA H200": 2}))
    assert words[:3] == ["RAY_AUTH_MODE=token", "ray", "start"]
    assert "--address=10.0.0.1:6379" in words
    assert '--resources={"NVIDIA H200": 2}' in words
    assert "--head" in shlex.split(ray_start(HEAD, {"cpu": 1}))
