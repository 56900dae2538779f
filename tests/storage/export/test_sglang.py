"""Options for SGLang."""

from __future__ import annotations

from casspec.storage.export import exporter
from tests.storage import samples
from tests.storage.export.test_vllm import LOOKUP, SELF


def test_a_chain_of_as_many_tokens_counts_the_last_of_the_text() -> None:
    exported = exporter("sglang")(samples.profile(drafters=(SELF, LOOKUP)))
    assert exported.text == (
        "--speculative-algorithm NGRAM --speculative-num-draft-tokens 8 --speculative-ngram-max-bfs-breadth 1\n"
    )
    assert exported.fidelity == "partial"
    assert "translated" in exported.note
    assert SELF.name in exported.note
