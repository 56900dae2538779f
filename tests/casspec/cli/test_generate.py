"""`casspec generate`, run as a user runs it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import casspec
from casspec.cli.main import main
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.export.json_profile import export
from tests.runtime.own_methods import Copying, empty_registry
from tests.runtime.tiny import tiny_profile

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[3]
PROMPT = "def main(argv):\n    parser ="


@pytest.fixture(scope="module")
def reference() -> TargetModel:
    return casspec.load_target("reference")


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def run(storage: str, reference: TargetModel, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Run:
    """Runs the command with the reference model loaded once: (exit code, stdout, stderr)."""
    load = casspec.load_target
    monkeypatch.setitem(
        vars(casspec),
        "load_target",
        lambda name, **where: reference if name == "reference" else load(name, **where),
    )

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["generate", *words, "--storage", storage, "--threads", "1"])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def expected_text(reference: TargetModel, n_tokens: int, **sampling: Any) -> str:
    prompt = reference.tokenizer.encode(PROMPT)
    tokens = Decoder(reference, method="autoregressive").generate(prompt, n_tokens, **sampling).token_ids
    whole = reference.tokenizer.decode([*prompt, *tokens], skip_special_tokens=True)
    return whole[len(PROMPT) :] + "\n"


def test_the_text_goes_to_stdout_and_the_missing_profile_to_stderr(run: Run, reference: TargetModel) -> None:
    code, out, err = run(PROMPT, "--max-new-tokens", "24", "--method", "autoregressive")
    assert (code, out) == (0, expected_text(reference, 24))
    assert err.count("\n") == 1
    assert "built-in priors" in err
    assert "casspec calibrate reference" in err


def test_a_method_that_was_registered_decodes_the_same_text(run: Run, reference: TargetModel, monkeypatch: Any) -> None:
    empty_registry(monkeypatch).register("copying", Copying)
    words = ("--max-new-tokens", "24", "--method", "copying", "--profile", "none", "--stats")
    code, out, err = run(PROMPT, *words)
    assert (code, out) == (0, expected_text(reference, 24))
    assert "copying: 24 tokens" in err


def test_a_method_of_an_installed_distribution_decodes(storage: str, tmp_path: Path) -> None:
    info = tmp_path / "copier-1.0.dist-info"
    info.mkdir()
    (tmp_path / "copier.py").write_text("from tests.runtime.own_methods import Copying")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: copier\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[casspec.methods]\ncopying = copier:Copying\nlost = copier:Lost\n")
    words = [sys.executable, "-m", "casspec", "generate", PROMPT, "--profile", "none", "--storage", storage]
    words += ["--method", "copying", "--max-new-tokens", "8", "--stats"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert "copying: 8 tokens" in done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "lost" in line]
    assert "'copier'" in warning


def test_sampling_is_seeded(run: Run, reference: TargetModel) -> None:
    words = ("--method", "autoregressive", "--profile", "none", "--max-new-tokens", "16", "--temperature", "0.7")
    code, out, err = run(PROMPT, *words, "--top-k", "40", "--top-p", "0.9", "--seed", "5")
    assert (code, err) == (0, "")
    assert out == expected_text(reference, 16, temperature=0.7, top_k=40, top_p=0.9, seed=5)


def test_prompts_come_from_a_file_or_standard_input(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--profile", "none", "--max-new-tokens", "8")
    expected = run(PROMPT, *words)[1]
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    assert run("--file", str(file), *words)[1] == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PROMPT.encode()), encoding="ascii"))
    assert run("-", *words)[1] == expected


def test_an_empty_prompt_starts_with_the_beginning_of_a_text(run: Run) -> None:
    code, out, _ = run("", "--profile", "none", "--max-new-tokens", "8")
    assert code == 0
    assert out.strip()


def test_statistics_are_said_on_stderr(run: Run) -> None:
    code, out, err = run(PROMPT, "--profile", "none", "--max-new-tokens", "30", "--stats")
    assert code == 0
    assert "dytc: 30 tokens" in err
    assert all(word in err for word in ("mean acceptance length", "overhead", "accepted", "tokens a step"))
    assert "overhead" not in out


def test_a_stored_profile_that_fits_is_used(run: Run, storage: str, reference: TargetModel, tmp_path: Path) -> None:
    profile = tiny_profile(reference, methods=()).document
    with open_repository(storage) as repository:
        repository.save_profile(None, profile)
        repository.save_profile(None, profile.model_copy(update={"dtype": "float32"}))
    code, _, err = run(PROMPT, "--max-new-tokens", "4")
    assert (code, err) == (0, "")
    code, _, err = run(PROMPT, "--max-new-tokens", "4", "--profile", "latest")
    assert code == 2
    assert "calibrated in float32" in err
    file = tmp_path / "profile.json"
    file.write_text(export(profile).text)
    for selection in (profile.profile_id, str(file)):
        assert run(PROMPT, "--max-new-tokens", "4", "--profile", selection)[::2] == (0, "")


def test_a_profile_of_a_similar_device_is_warned_of_in_one_line(run: Run, storage: str, reference: TargetModel) -> None:
    profile = tiny_profile(reference, methods=()).document
    similar = profile.device.model_copy(update={"name": "another processor"})
    with open_repository(storage) as repository:
        repository.save_profile(None, profile.model_copy(update={"device": similar}))
    expected = run(PROMPT, "--max-new-tokens", "4", "--profile", "none")[1]
    command = [sys.executable, "-m", "casspec", "generate", PROMPT, "--max-new-tokens", "4", "--threads", "1"]
    done = subprocess.run([*command, "--storage", storage], capture_output=True, text=True, check=True)
    assert done.stdout == expected
    assert done.stderr.count("\n") == 1
    assert "was calibrated on another processor" in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "PROMPT"),
        (("a", "--method", "magic", "--profile", "none"), "'magic'"),
        (("a", "--model", "/nowhere"), "/nowhere"),
        (("a", "--profile", "/nowhere.json"), "/nowhere.json"),
        (("a", "--profile", "abcdef"), "abcdef"),
        (("--file", sys.executable), "UTF-8"),
        (("a", "--temperature", "-1"), "--temperature"),
        (("a " * 5000, "--profile", "none"), "context"),
    ],
)
def test_mistakes_are_one_line(run: Run, words: tuple[str, ...], named: str) -> None:
    code, out, err = run(*words)
    assert (code, out.strip()) == (2, "")
    assert err.count("\n") == 1
    assert named in err


def test_a_model_without_a_tokenizer_is_refused(run: Run, reference: TargetModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(reference, "tokenizer", None)
    code, _, err = run("a", "--profile", "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "no tokenizer" in err


def test_ctrl_c_keeps_what_was_printed(storage: str) -> None:
    words = [sys.executable, "-m", "casspec", "generate", PROMPT, "--profile", "none", "--storage", storage]
    words += ["--method", "autoregressive", "--max-new-tokens", "1900", "--threads", "1", "--temperature", "1"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        begun = process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(begun) == 20
    assert (begun + out).endswith(b"\n")
    assert err.strip() == b"interrupted"


def test_generation_stops_at_the_end_of_sequence(run: Run, reference: TargetModel, monkeypatch: Any) -> None:
    prompt = reference.tokenizer.encode(PROMPT)
    text = Decoder(reference, method="autoregressive").generate(prompt, 12).token_ids
    monkeypatch.setattr(reference.library_model.generation_config, "eos_token_id", text[5])
    _, _, err = run(PROMPT, "--profile", "none", "--stats", "--method", "autoregressive")
    assert f"autoregressive: {text.index(text[5]) + 1} tokens" in err


def test_threads_are_those_asked_for(run: Run) -> None:
    run("a", "--profile", "none", "--max-new-tokens", "1")
    assert torch.get_num_threads() == 1
