"""What the documents name exists: links, files, commands with their options, and the signatures they show."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from casspec.cli.main import COMMANDS, casspec

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "casspec/reference/MODEL_CARD.md"])
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
METHODS_DOCUMENT = ROOT / "docs" / "methods.md"

FOLDERS = ("alembic", "benchmarks", "casspec", "docs", "examples", "profiler", "runtime", "storage", "tests", "tuner")
MAPPED = {"casspec/migrations"}
"""Paths inside a wheel that a checkout keeps elsewhere."""

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def fenced(document: Path, *languages: str) -> list[str]:
    """Code blocks of a Markdown file whose fence names one of the languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def shell_lines(document: Path) -> Iterator[list[str]]:
    """Words of every line of a shell block or of an indented block that calls casspec or make."""
    indented = re.findall(r"^    (.+)$", re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL), re.M)
    for line in [*"\n".join(fenced(document, "sh")).splitlines(), *indented]:
        if re.match(r"(casspec|make)\s", line):
            yield shlex.split(line, comments=True)


def code_spans(document: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@each_document
def test_relative_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    relative = [link for link in links if "://" not in link]
    assert [link for link in relative if not (document.parent / link).exists()] == []


@each_document
def test_named_paths_exist(document: Path) -> None:
    paths = [span for span in code_spans(document) if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span)]
    assert [path for path in paths if path not in MAPPED and not (ROOT / path).exists()] == []


def test_the_architecture_names_every_module_below_the_tuner() -> None:
    named = set(re.findall(r"[\w/]+\.py", ARCHITECTURE.read_text("utf-8")))
    files = {Path(name).name for name in named}
    modules = {
        path.name: path
        for folder in ("storage", "runtime", "profiler", "tuner", "casspec", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert files - set(modules) - {"test_imports.py"} == set(), "named, but not there"
    told = [
        path
        for folder in ("storage", "runtime", "runtime/drafters", "profiler")
        for path in (ROOT / folder).glob("*.py")
    ]
    missing = {path.name for path in told} - files - {"__init__.py"}
    assert missing == set(), "there, but not named"


def invocation(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that `casspec ...` reaches and the options it is given."""
    command: click.Command = casspec
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest.pop(0))
        assert found is not None, f"no such command: {shlex.join(words)}"
        command = found
    return command, [word.partition("=")[0] for word in rest if word.startswith("--")]


def invocations(document: Path) -> Iterator[list[str]]:
    yield from (words for words in shell_lines(document) if words[0] == "casspec")
    yield from (shlex.split(span) for span in code_spans(document) if re.match(r"casspec [a-z]", span))


@each_document
def test_commands_and_their_options_exist(document: Path) -> None:
    for words in invocations(document):
        command, options = invocation(words)
        known = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
        assert set(options) <= known | {"--help"}, f"{shlex.join(words)}: options are {sorted(known)}"


def test_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `casspec ([\w-]+)` \|", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@each_document
def test_make_targets_and_variables_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    spans = [shlex.split(span) for span in code_spans(document) if span.startswith("make ")]
    for words in [*(words for words in shell_lines(document) if words[0] == "make"), *spans]:
        for word in words[1:]:
            name, assigned, _ = word.partition("=")
            pattern = rf"^{name} \?=" if assigned else rf"^{name}:"
            assert re.search(pattern, makefile, re.MULTILINE), f"{shlex.join(words)}: no {name} in the Makefile"


@each_document
def test_python_blocks_compile(document: Path) -> None:
    for code in fenced(document, "python", "py"):
        compile(code, str(document), "exec")


def shown_functions() -> dict[str, ast.FunctionDef]:
    """Functions and methods whose signatures the README shows, by qualified name."""
    shown: dict[str, ast.FunctionDef] = {}
    for code in fenced(README, "python"):
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef):
                shown[node.name] = node
            elif isinstance(node, ast.ClassDef):
                methods = (method for method in node.body if isinstance(method, ast.FunctionDef))
                shown |= {f"{node.name}.{method.name}": method for method in methods}
    return shown


def real_function(name: str) -> Callable[..., object]:
    import casspec

    found: object = casspec
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
    return found


def test_readme_shows_the_signatures_of_the_public_api() -> None:
    import casspec

    shown = shown_functions()
    assert {name.partition(".")[0] for name in shown} >= set(casspec.__all__) - {"__version__", "Generation"}
    for name, node in shown.items():
        namespace: dict[str, Callable[..., object]] = {}
        exec(compile(ast.Module([node], []), str(README), "exec"), namespace)
        told = inspect.signature(namespace[node.name]).parameters.values()
        real = inspect.signature(real_function(name)).parameters.values()
        assert [(p.name, p.default) for p in told] == [(p.name, p.default) for p in real], name


def test_readme_names_the_statistics_that_exist() -> None:
    from casspec.runtime.decode import Generation, Statistics

    paragraph = next(
        part for part in README.read_text("utf-8").split("\n\n") if part.startswith("`Generation.token_ids`")
    )
    generation = Generation([], Statistics())
    for name in re.findall(r"`([\w.]+)`", paragraph):
        holder: object = generation if name.startswith("Generation.") else generation.statistics
        assert hasattr(holder, name.removeprefix("Generation.")), name


def test_readme_lists_every_method() -> None:
    from casspec.runtime.policies import METHODS

    (line,) = re.findall(r"^\* Methods: (.+)$", README.read_text("utf-8"), re.MULTILINE)
    assert re.findall(r"`([\w-]+)`", line) == list(METHODS)


def method_sections() -> dict[str, str]:
    """What docs/methods.md says under the heading of every method, by its ID."""
    _, *parts = re.split(r"^(?=##)", METHODS_DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    found = (re.match(r"### `([\w-]+)`\n(.*)", part, re.DOTALL) for part in parts)
    return {section[1]: section[2] for section in found if section}


def test_the_methods_document_tells_of_every_method_in_order() -> None:
    from casspec.runtime.policies import METHODS

    sections = method_sections()
    assert list(sections) == list(METHODS)
    assert [method for method, text in sections.items() if not text.strip()] == []


def test_the_methods_document_names_what_is_tuned() -> None:
    from casspec.runtime.policies import METHODS, settable
    from casspec.tuner.methods.grids import GRIDS

    for method, text in method_sections().items():
        _, tuned, rest = text.partition("Tuned:")
        named = set(re.findall(r"`(\w+)`", rest if tuned else ""))
        axes = set(GRIDS.get(method, ()))
        assert axes <= named, f"{method}: tuned, but not named: {axes - named}"
        assert named & set(settable(METHODS[method])) <= axes, f"{method}: named as tuned, but is not"
