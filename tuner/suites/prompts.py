"""What a prompt suite consists of: prompts with a task and a half, hashed by content.

Everything that is chosen is chosen on the tuning half, everything that is reported is measured on the reporting half. A
prompt knows its half from the moment its suite is made, so that no later step can mix them up.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import Any, ClassVar, Literal

from casspec.runtime.text.chat import chat_ids, has_chat_template, template_of
from casspec.storage.errors import SuiteError, UnsupportedOption
from casspec.storage.schema import Document
from casspec.tuner.settings import Turns

Half = Literal["tuning", "reporting"]

HALVES_SEED = 0


class Prompt(Document):
    """One request of a suite. `turns` is what the user says in a conversation; how many of them are asked is up to the command
    (`--turns`)."""

    id: str
    task: str
    """What figures are grouped by."""
    turns: tuple[str, ...]
    half: Half
    kind: Literal["text", "chat"] = "text"
    """"chat" turns are instructions and go through the tokenizer's chat template where it has one."""
    system: str = ""
    """What the model is told before the first turn."""
    answers: tuple[str, ...] = ()
    """To the first turns, where they are recorded: later turns quote these rather than what the model answers."""
    conversation: str = ""
    """Of one with tools, which has one turn, as JSON: `messages` and `tools` as its chat template takes them. "" of any other."""

    @property
    def text(self) -> str:
        return self.turns[0]

    def turn_id(self, turn: int) -> str:
        """What a turn goes by, from 0 on: later ones have their number behind them, "81#1"."""
        return self.id if turn == 0 else f"{self.id}#{turn}"

    def until(self, n_turns: int) -> Prompt:
        """A conversation that ends with turn `n_turns`, counted from 1."""
        return self.model_copy(update={"turns": self.turns[:n_turns], "answers": self.answers[: n_turns - 1]})

    def opening(self) -> Prompt:
        """A conversation that ends with its first turn."""
        return self.until(1)


def asked_turns(prompts: Iterable[Prompt], turns: Turns) -> list[Prompt]:
    """The conversations as far as they are asked."""
    return [prompt if turns == "all" else prompt.opening() for prompt in prompts]


class Suite(Document):
    """Prompts of several tasks, in a fixed order. `content_hash()` covers prompts and halves, not the name."""

    not_hashed: ClassVar[frozenset[str]] = frozenset({"name", "notes"})

    name: str
    prompts: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    """What a user should know about how this suite came about (entries left out, a missing task); one line each."""

    def half(self, half: Half) -> tuple[Prompt, ...]:
        return tuple(prompt for prompt in self.prompts if prompt.half == half)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks in order of first appearance."""
        return tuple(dict.fromkeys(prompt.task for prompt in self.prompts))


def reporting_half(suite: Suite) -> tuple[Prompt, ...]:
    """What figures are measured on. Raises SuiteError where the suite is too small to have it."""
    half = suite.half("reporting")
    if not half:
        raise SuiteError(
            f"suite '{suite.name}' has no reporting half, for each task has one prompt: figures take two prompts of a task"
        )
    return half


def spread_over_tasks(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """The first `count` prompts when tasks take turns, in the suite's order; all for None."""
    if count is None:
        return list(prompts)
    by_task: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_task.setdefault(prompt.task, []).append(prompt)
    turns = chain.from_iterable(zip_longest(*by_task.values()))
    chosen = [prompt for prompt in turns if prompt is not None][:count]
    ids = {prompt.id for prompt in chosen}
    return [prompt for prompt in prompts if prompt.id in ids]


def assign_halves(tasks: Iterable[tuple[str, str]], seed: int = HALVES_SEED) -> dict[str, Half]:
    """Splits (prompt id, task) pairs into halves within every task, by a seeded hash of the id.

    The order of the pairs does not matter. Of an odd number of prompts the tuning half gets one more.
    """
    ids_by_task: defaultdict[str, list[str]] = defaultdict(list)
    for prompt_id, task in tasks:
        ids_by_task[task].append(prompt_id)
    halves: dict[str, Half] = {}
    for ids in ids_by_task.values():
        ids.sort(key=lambda prompt_id: hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest())
        for place, prompt_id in enumerate(ids):
            halves[prompt_id] = "tuning" if place % 2 == 0 else "reporting"
    return halves


def prompt_ids(prompt: Prompt, tokenizer: Any, answers: Sequence[str] = ()) -> list[int]:
    """Token ids of the conversation up to its next turn; a chat prompt goes through the tokenizer's chat template when there is one.

    Args:
        answers: to the first turns, as many as there were.

    Raises SuiteError where the template takes no such conversation, for instance none with a system message.
    """
    if prompt.conversation:
        with _named(prompt):
            return _with_tools(prompt, tokenizer)
    said = prompt.turns[: len(answers) + 1]
    if prompt.kind == "chat" and has_chat_template(tokenizer):
        told = [("user", turn) for turn in said]
        for place, answer in enumerate(answers):
            told.insert(2 * place + 1, ("assistant", answer))
        if prompt.system:
            told.insert(0, ("system", prompt.system))
        with _named(prompt):
            return chat_ids(tokenizer, [{"role": role, "content": content} for role, content in told])
    before = [f"{turn}{answer}\n\n" for turn, answer in zip(said, answers, strict=False)]
    if prompt.system:
        before.insert(0, f"{prompt.system}\n\n")
    return list(tokenizer("".join(before) + said[-1])["input_ids"])


def without_refused(suite: Suite, tokenizer: Any) -> Suite:
    """The suite without conversations with tools that the tokenizer's chat template does not take; a note says how many, and why.

    Raises SuiteError where nothing is left.
    """
    kept, reasons = list[Prompt](), list[str]()
    for prompt in suite.prompts:
        try:
            if prompt.conversation:
                _with_tools(prompt, tokenizer)
        except UnsupportedOption as error:
            reasons.append(str(error))
        else:
            kept.append(prompt)
    if not reasons:
        return suite
    if not kept:
        raise SuiteError(f"suite '{suite.name}' holds conversations with tools only: {reasons[0]}")
    n = len(reasons)
    note = (
        f"suite '{suite.name}': {n:,} {'conversation' if n == 1 else 'conversations'} with tools left out: {reasons[0]}"
    )
    return suite.model_copy(update={"prompts": tuple(kept), "notes": (*suite.notes, note)})


def _with_tools(prompt: Prompt, tokenizer: Any) -> list[int]:
    """Raises UnsupportedOption where the template takes no such conversation."""
    if "tool" not in template_of(tokenizer):
        raise UnsupportedOption("the model's chat template has no place for tools")
    asked = json.loads(prompt.conversation)
    return chat_ids(tokenizer, asked["messages"], {"tools": asked["tools"]} if asked["tools"] else None)


@contextmanager
def _named(prompt: Prompt) -> Iterator[None]:
    """Tells which prompt a template refused, as a SuiteError."""
    try:
        yield
    except UnsupportedOption as error:
        raise SuiteError(f"prompt '{prompt.id}': {error}; take such prompts out of the suite") from error
