"""The scripts in examples/, run as a reader runs them: on the CPU, from any folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from casspec.reference import reference_path
from tests.runtime.tiny import library_model

EXAMPLES = Path(__file__).parent.parent / "examples"


def output_of(example: str, folder: Path, *words: str) -> str:
    """What an example prints; it must succeed."""
    done = subprocess.run([sys.executable, EXAMPLES / example, *words], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    tests = Path(__file__).read_text("utf-8")
    examples = [path.name for path in EXAMPLES.glob("*.py")]
    assert len(examples) >= 3
    assert [name for name in examples if f'"{name}"' not in tests] == []


@pytest.mark.slow
def test_a_model_of_your_own_is_loaded_from_its_directory_and_decoded(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reference_path())
    library_model(vocab_size=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    text = output_of("own_model.py", tmp_path, str(tmp_path), "def main():")
    assert text.startswith("def main():")
    assert "llama model, 4 layers, torch.float32" in text
    (tokens, forwards) = map(int, re.findall(r"^(\d+) (?:tokens in|forwards of)", text, re.MULTILINE))
    assert tokens == 96
    assert 0 < forwards <= tokens


@pytest.mark.slow
def test_inside_transformers_the_cascade_gives_the_tokens_of_generate(tmp_path: Path) -> None:
    text = output_of("inside_transformers.py", tmp_path)
    assert re.search(r"^generate alone: \d+ ms\nwith the cascade: \d+ ms\n", text)
    assert text.endswith("same tokens\n")


@pytest.mark.slow
def test_a_policy_of_your_own_decodes_the_text_of_autoregressive_decoding(tmp_path: Path) -> None:
    text = output_of("own_policy.py", tmp_path)
    assert text.endswith("one text from all three\n")
    forwards = {name: int(n) for name, n in re.findall(r"^([\w-]+) +(\d+) forwards for 96 tokens", text, re.MULTILINE)}
    assert forwards.keys() == {"autoregressive", "pair-repeat", "nonsense"}
    assert forwards["pair-repeat"] < forwards["autoregressive"] == 96
    assert forwards["nonsense"] <= 96
