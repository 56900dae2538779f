"""`casspec engine tune` over the fake engine, and what is said where it cannot be."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.export.engine_file import file_text
from casspec.tuner.engines.guard import descendants
from tests.runtime.tiny_gguf import write_gguf
from tests.tuner.engines.conftest import fake_vllm, impatient, llama_server, prompts_file, serve  # noqa: F401
from tests.tuner.engines.test_guard import gone

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def words(fake_vllm: Path, prompts_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: F811
    """Of a search that takes seconds, and confirms the most promising setting alone."""
    monkeypatch.setattr("casspec.tuner.engines.tuning.finalists.MOST_PREDICTED", 1)
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 4, "request_ms": 0.1, "token_ms": 0.01}))
    found = [
        "engine",
        "tune",
        "vllm",
        "reference",
        "--suite",
        str(prompts_file),
        "--concurrency",
        "1,2",
        "--prompts",
        "4",
    ]
    return [*found, "--tokens", "16", "--budget", "10m", "--engine-python", sys.executable, "--device", "cpu"]


def test_the_configuration_is_printed_written_stored_and_found_again(
    run: Run, storage: str, words: list[str], tmp_path: Path, with_mirror: Callable[[Path], Path]
) -> None:
    with_mirror(Path(storage))
    file = tmp_path / "config.json"
    code, out, err = run(*words, "--output", str(file))
    assert code == 0, err
    configuration = json.loads(out.splitlines()[-1])
    assert configuration["method"] == "ngram"
    assert json.loads(file.read_text()) == configuration
    with open_repository(storage) as repository:
        found = repository.engines.result("latest")
    assert found.configuration == configuration
    assert (found.subject.engine_version, found.subject.concurrency, found.subject.prompts) == ("0.33.0", (1, 2), 6)
    code, again, err = run(*words)
    assert (code, again.splitlines()[-1]) == (0, out.splitlines()[-1])
    assert "starting" not in err


def test_a_budget_that_is_too_short_is_one_line(run: Run, words: list[str]) -> None:
    place = words.index("--budget") + 1
    code, out, err = run(*words[:place], "1s", *words[place + 1 :])
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: the budget ends before any setting is confirmed")


def is_one_line(done: tuple[int, str, str], words: str) -> bool:
    """Whether a command ended with one line about an error, after lines that say what it did."""
    code, out, err = done
    last = err.splitlines()[-1]
    told = [line for line in err.splitlines() if line.startswith(("error: ", "Traceback"))]
    return (code, out, told) == (2, "", [last]) and words in last


def test_an_engine_that_is_not_installed_is_one_line(
    run: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = words[: words.index("--engine-python")]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_one_line(run(*base), "no vllm on PATH")
    monkeypatch.delenv("PYTHONPATH")
    assert is_one_line(run(*words), "has no vLLM")


def test_a_suite_or_a_model_that_is_not_there_is_one_line(run: Run, words: list[str], tmp_path: Path) -> None:
    suite = words.index("--suite") + 1
    assert is_one_line(run(*words[:suite], "no-such-suite", *words[suite + 1 :]), "no suite at 'no-such-suite'")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert is_one_line(run(*words[:suite], str(empty), *words[suite + 1 :]), "empty.jsonl")
    assert is_one_line(run(*words[:3], "no-such-model", *words[4:]), "no-such-model")


def test_what_is_wrong_behind_a_url_is_one_line(
    run: Run,
    words: list[str],
    serve: Callable[..., str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = words[: words.index("--engine-python")]
    guarded, silent, good = serve(key="secret"), serve(no_metrics=True), serve()
    wrong = [
        (guarded, "true", ["--key", "guess"], "refuses the key"),
        (guarded, "true", [], "refuses the key"),
        (f"{good}/elsewhere", "true", [], "is this an engine's URL?"),
        ("127.0.0.1", "true", [], "is no URL of an endpoint"),
        (silent, "true", [], "has no /metrics"),
        (good, "echo no power >&2; exit 3", [], "the restart command ended with code 3: no power"),
    ]
    for url, command, more, expected in wrong:
        done = run(*base, "--url", url, "--restart-command", command, *more)
        assert is_one_line(done, expected), done


def test_ctrl_c_loses_nothing_and_leaves_no_engine(run: Run, storage: str, words: list[str]) -> None:
    line = [sys.executable, "-m", "casspec", *words, "--storage", storage]
    program = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    said = ""
    while "step 3/" not in said:
        said = program.stderr.readline()
        assert said, program.wait()
    below = descendants(program.pid)
    assert below
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=120)
    assert (program.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in err
    assert gone(below)
    code, out, err = run(*words)
    assert code == 0, err
    assert "texts, " not in err
    assert "step 1/" in err
    assert "/20: " not in err, "fewer than all are left"


def test_what_cannot_be_is_one_line(
    run: Run, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = words[: words.index("--engine-python")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wrong: list[tuple[list[str], str]] = [
            ([*base, "--engine-python", str(tmp_path / "no")], "is no file"),
            ([*words, "--port", str(taken.getsockname()[1])], "is in use"),
            ([*words, "--url", "http://127.0.0.1:1"], "go together"),
            ([*words, "--url", "http://127.0.0.1:1", "--restart-command", "true"], "is not reached"),
            ([*words, "--try", "eagle"], "is no configuration"),
            ([*words, "--output", str(tmp_path / "no" / "file")], "is no folder"),
            ([*words[:3], str(tmp_path / "no-model"), *words[4:]], "no model at"),
            (
                ["engine", "tune", "vlm", "reference"],
                "'vlm' is not one of 'vllm', 'sglang', 'tensorrt-llm', 'llama.cpp'",
            ),
            ([*words, "--engine-model", str(tmp_path / "no")], "does not exist"),
        ]
        for line, expected in wrong:
            code, out, err = run(*line)
            assert (code, out) == (2, ""), err
            assert expected in err
            assert err.splitlines()[-1].startswith("error: ")
    monkeypatch.setenv("FAKE_VLLM", '{"refuses": ["off"]}')
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "ValueError: no model here" in err.splitlines()[-1]


def test_an_engine_serves_another_form_of_the_model_and_its_options_are_written(
    run: Run,
    storage: str,
    words: list[str],
    llama_server: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    form, file = tmp_path / "m.gguf", tmp_path / "options"
    form.write_bytes(b"GGUF" * 100)
    place = words.index("--engine-python")
    line = ["engine", "tune", "llama.cpp", *words[3:place], "--engine-python", str(llama_server), *words[place + 2 :]]
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert "llama.cpp serves a GGUF file" in err.splitlines()[-1]
    assert "starting" not in err
    code, out, err = run(*line, "--engine-model", str(form), "--output", str(file))
    assert code == 0, err
    configuration = json.loads(out.splitlines()[-1])
    assert configuration["spec-type"].startswith("ngram-")
    assert file.read_text() == file_text("llama.cpp", configuration)
    with open_repository(storage) as repository:
        subject = repository.engines.result("latest").subject
    assert subject.dtype.startswith("auto of m.gguf ")
    assert subject.engine_version == "b11434-abc1234"


def test_a_gguf_file_is_a_model_of_its_own(run: Run, words: list[str], llama_server: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("gguf")
    model = write_gguf(tmp_path / "tiny.gguf")
    place = words.index("--engine-python")
    line = ["engine", "tune", "llama.cpp", str(model), *words[4:place], "--engine-python", str(llama_server)]
    code, out, err = run(*line, *words[place + 2 :])
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["spec-type"].startswith("ngram-")
