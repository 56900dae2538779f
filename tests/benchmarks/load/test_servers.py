"""A server from its start to its end, and the command lines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.load.servers import CONTENDERS, Server, ServerFailed, Setup
from casspec.cli.serve import command
from casspec.tuner.engines.process import free_port

FAKE = Path(__file__).parent / "fake_server.py"
SETUP = Setup(Path("/m"), 256, (0, 1), profile="latest", storage="sqlite:///s.db")


def server(tmp_path: Path, model: str = "") -> Server:
    port = free_port()
    return Server([sys.executable, str(FAKE), str(port), model], {}, tmp_path / "logs" / "log", port, "/ready")


def test_a_server_is_ready_uses_memory_and_ends(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        assert one.wait_until_ready(60) > 0
        assert (one.usage().peak_bytes or 1) > 0
    with pytest.raises(ServerFailed):
        one.check()


def test_one_that_cannot_load_says_why(tmp_path: Path) -> None:
    with server(tmp_path, "broken") as one, pytest.raises(ServerFailed, match="code 1: the model"):
        one.wait_until_ready(60)


def test_one_that_never_is_ready_is_given_up(tmp_path: Path) -> None:
    with server(tmp_path, "loading") as one, pytest.raises(ServerFailed, match="not ready within"):
        one.wait_until_ready(0.5)


@pytest.mark.parametrize("name", ["casspec", "casspec-off"])
def test_options_of_casspec_exist(name: str) -> None:
    words = CONTENDERS[name].words(Path("python"), 1, SETUP)
    assert words[:4] == ["python", "-m", "casspec", "serve"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert CliRunner().invoke(command, [*words[4:], "--help"]).exit_code == 0


def test_speculation_is_all_that_differs() -> None:
    on, off = (CONTENDERS[name].words(Path("python"), 1, SETUP) for name in ("casspec", "casspec-off"))
    assert off == [*on, "--method", "autoregressive"]


def test_vllm_serves_the_same_model_under_the_same_name() -> None:
    words = CONTENDERS["vllm"].words(Path("python"), 1, SETUP)
    assert words[words.index("--model") + 1] == "/m"
    assert words[words.index("--dtype") + 1] == "bfloat16"
