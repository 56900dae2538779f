"""What the documents name exists: links, files, commands with their options, and the signatures they show."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from casspec.cli.main import COMMANDS, casspec

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "casspec/reference/MODEL_CARD.md"])
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"
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


@pytest.mark.parametrize(
    ("link", "source", "place", "moved"),
    [
        ("docs/guide.md", "README.md", "index.md", "guide.md"),
        ("casspec/reference/MODEL_CARD.md", "README.md", "index.md", "model_card.md"),
        ("../../CONTRIBUTING.md", "docs/api/policy.md", "api/policy.md", "../contributing.md"),
        ("../figures/search.png", "docs/results/search.md", "results/search.md", "../figures/search.png"),
        ("https://semver.org", "CHANGELOG.md", "changelog.md", "https://semver.org"),
    ],
)
def test_links_follow_pages_to_the_site(link: str, source: str, place: str, moved: str) -> None:
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    site_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site_pages)
    assert site_pages.moved(link, source, place) == moved


@each_document
def test_named_paths_exist(document: Path) -> None:
    paths = [span for span in code_spans(document) if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span)]
    assert [path for path in paths if path not in MAPPED and not (ROOT / path).exists()] == []


def packages() -> list[Path]:
    """Every folder of the five floors that is imported."""
    floors = ("storage", "runtime", "profiler", "tuner", "casspec")
    return sorted(file.parent for floor in floors for file in (ROOT / floor).rglob("__init__.py"))


def test_the_architecture_names_every_folder() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    folders = [package.relative_to(ROOT).as_posix() for package in packages()]
    assert [folder for folder in folders if f"`{folder}/`" not in text] == []


MANY_FILES = [
    package
    for package in packages()
    if sum(file.name != "__init__.py" for file in package.iterdir() if file.is_file()) > 5
]


@pytest.mark.parametrize("package", MANY_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_of_many_files_tells_what_is_in_it(package: Path) -> None:
    told = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    modules = {file.name for file in package.glob("*.py")} - {"__init__.py"}
    assert {name for name in modules if f"`{name}`" not in told} == set(), "there, but not told of"
    named = re.findall(r"`([\w/]+\.py)`", told)
    assert [name for name in named if not ((package / name).exists() or (ROOT / name).exists())] == [], "not there"
    assert "To add a" in told


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= 1200


@each_document
def test_documents_hold_no_history(document: Path) -> None:
    if document.name != "CHANGELOG.md":
        text = " ".join(document.read_text("utf-8").split())
        assert re.findall(r"[Ss]ince then|earlier run|newest run|with the present code", text) == []


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


def test_the_guide_lists_every_command() -> None:
    listed = re.findall(r"^\| `casspec ([\w-]+)` \|", GUIDE.read_text("utf-8"), re.MULTILINE)
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
    """Functions and methods whose signatures the guide shows, by qualified name."""
    shown: dict[str, ast.FunctionDef] = {}
    for code in fenced(GUIDE, "python"):
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


def test_the_guide_shows_the_signatures_of_the_public_api() -> None:
    import casspec

    shown = shown_functions()
    assert {name.partition(".")[0] for name in shown} >= set(casspec.__all__) - {"__version__", "Generation"}
    for name, node in shown.items():
        namespace: dict[str, Callable[..., object]] = {}
        exec(compile(ast.Module([node], []), str(GUIDE), "exec"), namespace)
        told = inspect.signature(namespace[node.name]).parameters.values()
        real = inspect.signature(real_function(name)).parameters.values()
        assert [(p.name, p.default) for p in told] == [(p.name, p.default) for p in real], name


def test_the_guide_names_the_statistics_that_exist() -> None:
    from casspec.runtime.decode import Generation, Statistics

    paragraph = next(
        part for part in GUIDE.read_text("utf-8").split("\n\n") if part.startswith("`Generation.statistics`")
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
