"""`casspec calibrate --quick` from end to end on tiny models of families that differ most from a Llama, and a text with what it found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.tuner import settings as tuner_settings
from casspec.tuner.settings import QUICK
from tests.runtime.tiny_families import tiny_model
from tests.tuner.text_generators import ALPHABET, tokenizer

PROMPTS = 6
PROMPT = "abcabdabcabd"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--quick`, quicker: what is measured of these models says nothing anyway."""
    less = {
        "profile": {"seconds": 0.1, "rounds": 1, "max_context": 128, "max_batch": 2},
        "record": {"prompts": 2, "tokens": 24},
        "search": {"recordings": 2, "trials": 12, "seconds": 5.0},
        "cascade": {"probed_recordings": 1, "probed_steps": 2, "tuning_seconds": 0.1},
        "bench": {"prompts": 1, "tokens": 8, "batches": (2,), "batch_tokens": 4},
    }
    monkeypatch.setattr(tuner_settings, "QUICK", {**QUICK, **less})


@pytest.fixture
def suite(tmp_path: Path) -> str:
    file = tmp_path / "letters.txt"
    file.write_text("\n\n".join(letter * 3 + "ab" * 9 + letter for letter in "abcdef"[:PROMPTS]))
    return str(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "backend"),
    [("gemma3_text", "lean"), ("mixtral", "generic"), ("gpt_oss", "generic"), ("deepseek_v3", "generic")],
)
def test_a_family_is_calibrated_and_decodes_with_its_profile(
    family: str,
    backend: str,
    quick: None,
    suite: str,
    tmp_path: Path,
    with_mirror: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory, storage = str(tmp_path / family), str(with_mirror(tmp_path / "store.db"))
    tiny_model(family, vocab_size=len(ALPHABET)).save_pretrained(directory)
    spelled = tokenizer()
    spelled.save_pretrained(directory)

    where = ["--storage", storage, "--threads", "1"]
    assert main(["calibrate", directory, "--quick", "--suite", suite, *where]) == 0
    capsys.readouterr()
    with open_repository(storage) as repository:
        profile = repository.profile("latest")
    assert (profile.model.family, profile.backend or "lean") == (family, backend)
    assert profile.drafters
    assert profile.latency.n_points > 10

    asked = ["generate", PROMPT, "--model", directory, "--max-new-tokens", "40", "--temperature", "0", *where]
    assert main([*asked, "--profile", profile.profile_id, "--method", "dytc"]) == 0
    ids = torch.tensor([spelled.encode(PROMPT)])
    model = AutoModelForCausalLM.from_pretrained(directory)
    expected = model.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1] :]
    assert capsys.readouterr().out.removeprefix(PROMPT).strip() == spelled.decode(expected).strip()

    other = "generic" if backend == "lean" else "lean"
    code = main([*asked, "--profile", profile.profile_id, "--backend", other])
    told = capsys.readouterr().err
    assert code == 2
    assert ("was calibrated on the lean backend" if backend == "lean" else "lean backend does not cover") in told
