"""Options for llama.cpp's server."""

from __future__ import annotations

import pytest

from casspec.storage.export import exporter
from casspec.storage.schema import DrafterSpec
from tests.storage import samples
from tests.storage.export.test_vllm import LOOKUP, SELF


@pytest.mark.parametrize(("n_tokens", "length"), [(7, 7), (2, 5)])
def test_a_draft_is_never_shorter_than_the_n_gram(n_tokens: int, length: int) -> None:
    lookup = DrafterSpec(name="l", kind=LOOKUP.kind, parameters={"max_ngram": 5, "n_tokens": n_tokens})
    exported = exporter("llama.cpp")(samples.profile(drafters=(SELF, lookup)))
    assert exported.text == (
        f"--spec-type ngram-simple --spec-ngram-simple-size-n 5 --spec-ngram-simple-size-m {length}\n"
    )
    assert exported.fidelity == "partial"
    assert "translated" in exported.note
