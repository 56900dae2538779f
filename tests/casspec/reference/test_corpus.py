"""The corpus: the standard library without its tests, held-out modules apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.reference.corpus import Corpus, encode, find_corpus, train_tokenizer
from casspec.storage.errors import UnsupportedOption


def test_library_corpus_separates_held_out_modules_and_leaves_tests_out(tmp_path: Path):
    for name in (
        "wave.py",
        "heapq.py",
        "zipfile/__init__.py",
        "zipfile/extra.py",
        "test/test_wave.py",
        "encodings/ascii.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n" * 200)
    (tmp_path / "short.py").write_text("x = 1\n")
    corpus = find_corpus(library=tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in corpus.library] == ["heapq.py", "zipfile/extra.py"]
    assert [path.relative_to(tmp_path).as_posix() for path in corpus.heldout] == ["wave.py", "zipfile/__init__.py"]


def test_given_directories_join_the_training_text_only(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / "module.py"
    mine.write_text("y = 2\n" * 200)
    corpus = find_corpus([tmp_path / "mine"])
    assert corpus.others == (mine,)
    assert mine in corpus.training
    assert mine not in corpus.library


def test_a_directory_without_source_is_named(tmp_path: Path):
    with pytest.raises(UnsupportedOption, match=str(tmp_path)):
        find_corpus([tmp_path])


def test_end_of_text_stands_before_each_file(tiny_corpus: Corpus):
    tokenizer = train_tokenizer(tiny_corpus.library, 300)
    ids = encode(tiny_corpus.training, tokenizer).tolist()
    assert ids[0] == 0
    assert ids.count(0) == len(tiny_corpus.training)
    assert tokenizer.decode(ids[1 : ids.index(0, 1)]) == tiny_corpus.training[0].read_text()
