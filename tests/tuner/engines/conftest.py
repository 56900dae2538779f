"""A fake vLLM that can be installed beside a test: a package of that name on PYTHONPATH, and its metadata."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casspec.tuner.engines.process import free_port
from tests.tuner.engines import kin

FAKE = Path(__file__).with_name("fake_vllm.py")
SETTINGS = "num_speculative_tokens_per_batch_size suffix custom_class"


def install(place: Path, version: str = "0.33.0", settings: str = SETTINGS) -> None:
    """A package `vllm` in `place`, whose server is the fake."""
    server = place / "vllm" / "entrypoints" / "openai"
    server.mkdir(parents=True)
    for folder in (place / "vllm", server.parent, server):
        (folder / "__init__.py").touch()
    shutil.copy(FAKE, server / "api_server.py")
    (place / "vllm" / "config").mkdir()
    (place / "vllm" / "config" / "speculative.py").write_text(f'"""{settings}"""\n')
    metadata = place / f"vllm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes are ready soon, and a test starts many."""
    monkeypatch.setattr("casspec.tuner.engines.process.LOOK_SECONDS", 0.02)


@pytest.fixture
def fake_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None) -> Path:
    """The fake is installed for this interpreter's children. Its folder."""
    place = tmp_path / "installed"
    install(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place


@pytest.fixture
def llama_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None) -> Path:
    """The fakes of SGLang, TensorRT-LLM and llama.cpp are installed for this interpreter's children. The last one's program."""
    program = kin.install(tmp_path / "installed")
    monkeypatch.setenv("PYTHONPATH", str(program.parent))
    return program


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a fake that runs by itself, `serve(config, **modes)`, and gives its URL."""
    started = []

    def start(config: dict[str, object] | None = None, **modes: object) -> str:
        port = free_port()
        words = [sys.executable, str(FAKE), "--port", str(port), "--host", "127.0.0.1"]
        words += ["--speculative-config", json.dumps(config)] if config else []
        environment = {**os.environ, "FAKE_VLLM": json.dumps(modes)}
        started.append(subprocess.Popen(words, env=environment, start_new_session=True, stderr=subprocess.DEVNULL))
        url = f"http://127.0.0.1:{port}"
        for _ in range(500):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                return url
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the fake does not answer")

    yield start
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture
def prompts_file(tmp_path: Path) -> Path:
    """Two tasks of short prompts."""
    file = tmp_path / "prompts.jsonl"
    rows = [
        {
            "question_id": place,
            "category": ("copy", "list")[place % 2],
            "turns": [f"say {place} after me: " + "one two three " * 3],
        }
        for place in range(12)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
