"""Reads the suite `chat`; see the package."""

from __future__ import annotations

import json
import platform
from importlib.resources import files
from typing import Any

from casspec.tuner.suites.chat.passages import passage
from casspec.tuner.suites.prompts import Prompt, Suite, assign_halves

QUESTIONS = "questions.jsonl"
PLACEHOLDER = "{passage}"


def load_chat_suite() -> Suite:
    """The suite `chat`. Requests about a page that this interpreter's documentation lacks are left out, with a note.

    A request has the same half everywhere: halves are dealt before any is left out.
    """
    requests = _requests()
    halves = assign_halves((request["question_id"], request["category"]) for request in requests)
    prompts, lacking = [], []
    for request in requests:
        turns = _turns(request)
        if turns is None:
            lacking.append(request)
            continue
        name, task = request["question_id"], request["category"]
        prompts.append(Prompt(id=name, task=task, turns=turns, half=halves[name], kind="chat"))
    notes = tuple(
        f"{task} prompts left out: the documentation of this Python {platform.python_version()} has no page on "
        + ", ".join(f"'{request['passage']}'" for request in lacking if request["category"] == task)
        for task in dict.fromkeys(request["category"] for request in lacking)
    )
    return Suite(name="chat", prompts=tuple(prompts), notes=notes)


def _requests() -> list[dict[str, Any]]:
    text = files("casspec.tuner.suites.chat").joinpath(QUESTIONS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.strip().split("\n")]


def _turns(request: dict[str, Any]) -> tuple[str, ...] | None:
    """What the user says, with the passage it is about; None where there is no such passage."""
    turns: list[str] = request["turns"]
    if "passage" not in request:
        return tuple(turns)
    text = passage(request["passage"])
    return None if text is None else (turns[0].replace(PLACEHOLDER, text), *turns[1:])
