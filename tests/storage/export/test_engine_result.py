"""A measured configuration as a file."""

from __future__ import annotations

import json

import pytest

from casspec.storage.errors import UnsupportedOption
from casspec.storage.export.engine_result import export
from tests.storage.engines.test_documents import result


def test_the_file_is_what_the_engine_takes_and_the_note_says_that_it_was_measured() -> None:
    exported = export(result())
    assert json.loads(exported.text) == {"method": "ngram", "prompt_lookup_max": 5, "num_speculative_tokens": 4}
    assert exported.fidelity == "full"
    assert exported.note.startswith("measured with vllm 0.33.0 on test processor")
    assert "1.30x (1.20 to 1.40) at 1, 1.10x (1.00 to 1.20) at 4" in exported.note
    assert exported.note.endswith("requests with min_p are refused")


def test_where_nothing_was_faster_there_is_no_file() -> None:
    with pytest.raises(UnsupportedOption, match="serve without it"):
        export(result(configuration=None, configured=()))
