from __future__ import annotations

import json

from casspec.hub.api.answers import document_answer
from casspec.storage.summaries.documents import Overview


def test_a_document_is_answered_as_json() -> None:
    answer = document_answer(Overview(jobs={"done": 1}, profiles=2), 201)
    assert (answer.status_code, answer.media_type) == (201, "application/json")
    assert json.loads(bytes(answer.body)) == {"jobs": {"done": 1}, "profiles": 2}
