"""Where prompts can be cut in Python source: places at which a task begins, with enough text before them.

The tasks differ in how much of what follows can be copied from what stands before: a rewrite nearly all of it, a table
of constants its shape, the body of a function some, a docstring little.
"""

from __future__ import annotations

import ast
import builtins
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from casspec.tuner.suites.reference.suite_list import Rename

CONTEXT_CHARACTERS = (1000, 2600)
"""Length of a cut, about 250 to 750 tokens of the reference tokenizer; after longer prompts the model loops less."""
REWRITE_CHARACTERS = (500, 2200)
"""Length of the old version; most of it comes once more in the continuation."""
SHORTEST_BODY_LINES = 6
SHORTEST_TABLE_LINES = 3
CUTS_PER_PLACE = 4
"""Cuts of one place overlap, so that few of them end up in a suite."""
NEW_NAMES = ("content", "record", "subject", "holder", "outcome", "detail", "piece", "marker")


class Cut(NamedTuple):
    """A candidate prompt: characters of a module, and the rename that makes a rewrite of it."""

    module: str
    offset: int
    length: int
    rename: Rename | None = None


def find_cuts(task: str, module: str, source: str, seed: int) -> list[Cut]:
    """All candidate prompts of one task in one module, in source order; the same seed gives the same cuts."""
    finders = {
        "completion": _bodies,
        "tests": _bodies,
        "docstring": _docstrings,
        "constants": _tables,
        "rewrite": _rewrites,
    }
    generator = random.Random(f"{seed}:{task}:{module}")
    return list(finders[task](module, _Lines(source), generator))


class _Lines:
    """Line numbers (1-based, as in `ast`) against character offsets."""

    def __init__(self, source: str):
        self.source = source
        self.tree = ast.parse(source)
        self.lines = source.splitlines(keepends=True) if "\f" not in source else re.findall(r".*\n|.+$", source)
        self.starts = [0, *accumulate(len(line) for line in self.lines)]

    def start(self, line: int) -> int:
        return self.starts[line - 1]

    def end_before(self, line: int) -> int:
        """Where the text before a line ends, its line feed excluded.

        Byte-level tokenizers join line feeds with the indentation that follows: to a model trained on whole files a
        prompt that ends in a line feed looks like the end of a file.
        """
        return len(self.source[: self.start(line)].rstrip())

    def context(self, end: int, generator: random.Random) -> tuple[int, int] | None:
        """(offset, length) of whole lines up to `end`, of random length; None when too little stands before `end`."""
        shortest, longest = CONTEXT_CHARACTERS
        earliest = end - generator.randint(shortest, longest)
        offset = next((start for start in self.starts if start >= max(earliest, 0)), end)
        return (offset, end - offset) if end - offset >= shortest else None


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _bodies(module: str, text: _Lines, generator: random.Random) -> Iterator[Cut]:
    """Cuts at line ends inside function bodies, past the docstring."""
    for node in _functions(text.tree):
        first, last = _code_start(node), node.end_lineno or node.lineno
        if last - first + 1 < SHORTEST_BODY_LINES:
            continue
        for line in generator.sample(range(first + 1, last), CUTS_PER_PLACE):
            if context := text.context(text.end_before(line), generator):
                yield Cut(module, *context)


def _code_start(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """First line after the docstring."""
    first = node.body[0]
    return (first.end_lineno or first.lineno) + 1 if ast.get_docstring(node, clean=False) is not None else first.lineno


def _docstrings(module: str, text: _Lines, generator: random.Random) -> Iterator[Cut]:
    """Cuts right after the opening quotes of a docstring and at line ends in its first half."""
    for node in ast.walk(text.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not ast.get_docstring(node, clean=False):
            continue
        first, last = node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno
        opening = re.match(r"\s*[rRuU]?(\"\"\"|''')", text.lines[first - 1])
        if not opening:
            continue
        lines = range(first + 1, (first + last) // 2 + 1)
        inside = generator.sample(lines, min(len(lines), CUTS_PER_PLACE))
        for end in (text.start(first) + opening.end(), *(text.end_before(line) for line in inside)):
            if context := text.context(end, generator):
                yield Cut(module, *context)


def _tables(module: str, text: _Lines, generator: random.Random) -> Iterator[Cut]:
    """Cuts at line ends in the second half of displays and of runs of assignments, and right after them.

    Early in a table a small model repeats the entry before until it has filled its budget; near the end it may close it.
    """
    for first, last in _displays(text.tree) | _assignment_runs(text.tree):
        if last - first + 1 < SHORTEST_TABLE_LINES:
            continue
        lines = range((first + last) // 2 + 1, last + 2)
        for line in generator.sample(lines, min(len(lines), CUTS_PER_PLACE)):
            if context := text.context(text.end_before(line), generator):
                yield Cut(module, *context)


def _displays(tree: ast.AST) -> dict[tuple[int, int], None]:
    displays = (node for node in ast.walk(tree) if isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set))
    return {(node.lineno, node.end_lineno or node.lineno): None for node in displays}


def _assignment_runs(tree: ast.AST) -> dict[tuple[int, int], None]:
    """(first, last) lines of neighbouring assignments in modules, classes and functions; an ordered set."""
    runs: dict[tuple[int, int], None] = {}
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        run: list[ast.stmt] = []
        for statement in [*scope.body, None]:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                run.append(statement)
            elif run:
                runs[run[0].lineno, run[-1].end_lineno or run[-1].lineno] = None
                run = []
    return runs


def _rewrites(module: str, text: _Lines, generator: random.Random) -> Iterator[Cut]:
    """Whole functions and classes with the identifier to rename and how much of the new version is shown."""
    shortest, longest = REWRITE_CHARACTERS
    for node in ast.walk(text.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        offset, end = text.start(first), text.start((node.end_lineno or node.lineno) + 1)
        cut = text.source[offset:end]
        if not shortest <= len(cut) <= longest:
            continue
        for old in _most_used_names(node)[:CUTS_PER_PLACE]:
            new = generator.choice([name for name in NEW_NAMES if not re.search(rf"\b{name}\b", cut)])
            shown_lines = generator.randint(1, max(1, cut.count("\n") // 3))
            renamed = re.sub(rf"\b{re.escape(old)}\b", new, cut)
            shown = len("".join(renamed.splitlines(keepends=True)[:shown_lines]).rstrip())
            yield Cut(module, offset, end - offset, Rename(old=old, new=new, shown_characters=shown))


def _most_used_names(node: ast.AST) -> list[str]:
    """Variables that occur at least three times, the most used first."""
    names = Counter(child.id for child in ast.walk(node) if isinstance(child, ast.Name))
    return [
        name
        for name, count in names.most_common()
        if count >= 3 and len(name) > 1 and name not in ("self", "cls") and not hasattr(builtins, name)
    ]
