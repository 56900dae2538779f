from __future__ import annotations

from pathlib import Path

import pytest
import torch

from casspec.reference.corpus import Corpus
from casspec.reference.train import Recipe


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_corpus(tmp_path: Path) -> Corpus:
    """A few files of very regular text, one of them held out."""
    folder = tmp_path / "source"
    folder.mkdir()
    files = []
    for number in range(5):
        body = "".join(f"def f{number}_{k}(x):\n    return x + {k}\n\n" for k in range(40))
        files.append(folder / f"m{number}.py")
        files[-1].write_text(body)
    return Corpus(library=tuple(files[:4]), others=(), heldout=(files[4],))


@pytest.fixture
def tiny_recipe() -> Recipe:
    return Recipe(
        layers=2,
        hidden_size=32,
        heads=2,
        mlp_size=64,
        vocabulary=300,
        context_tokens=128,
        window_tokens=64,
        windows_per_step=4,
    )
