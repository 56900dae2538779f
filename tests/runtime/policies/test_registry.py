"""Methods of others: registered by a call, or declared by an installed distribution. They can be slow, and nothing else."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import casspec
from casspec.runtime import policies
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies import METHODS
from casspec.runtime.policies.base import Policy, VerifyResult
from casspec.runtime.policies.registry import MethodRegistry
from casspec.storage.errors import BrokenMethod, UnsupportedOption
from tests.runtime.own_methods import Copying, empty_registry
from tests.runtime.tiny import VOCAB, repetitive_prompt, tiny_target


class Summaryless(Policy):
    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        return CandidateTree(sequence.tokens[-1])


class Draftless(Policy):
    summary = "nothing"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> MethodRegistry:
    return empty_registry(monkeypatch)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a distribution on `sys.path`: its name, a module's source, and (method id, value) of its entry points."""
    installed = []

    def put(name: str, source: str, *declared: tuple[str, str]) -> None:
        place = tmp_path / name
        info = place / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (place / f"{name}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[casspec.methods]\n" + "".join(f"{k} = {v}\n" for k, v in declared))
        monkeypatch.syspath_prepend(place)
        installed.append(name)

    yield put
    for name in installed:
        sys.modules.pop(name, None)


COPYING = """
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.base import Policy

class Copying(Policy):
    summary = "the newest token once more"

    def draft(self, sequence, max_depth):
        tree = CandidateTree(sequence.tokens[-1])
        if max_depth:
            tree.add(0, sequence.tokens[-1], "copy")
        return tree
"""


# ---------------------------------------------------------------------------------------------------------- registering


def test_a_registered_method_is_listed_and_decodes_the_targets_text() -> None:
    casspec.register_method("copying", Copying)
    assert casspec.methods()["copying"] == Copying.summary
    assert list(casspec.methods())[: len(METHODS)] == list(METHODS)
    target, prompt = tiny_target(seed=7), repetitive_prompt(20)
    for sampling in ({}, {"temperature": 0.8, "seed": 3}):
        expected = Decoder(target, method="autoregressive").generate(prompt, 24, **sampling).token_ids
        generation = Decoder(target, method="copying").generate(prompt, 24, **sampling)
        assert generation.token_ids == expected
        assert generation.statistics.drafted_by["copy"] > 0


def test_its_parameters_are_checked_as_those_of_a_built_in_method() -> None:
    casspec.register_method("copying", Copying)
    target = tiny_target()
    assert Decoder(target, method="copying", parameters={"n_tokens": 1}).generate([1, 2], 4).token_ids
    for parameters in ({"n_tokens": "two"}, {"n_tokens": -1}, {"depth": 1}):
        with pytest.raises(UnsupportedOption, match="'copying'"):
            Decoder(target, method="copying", parameters=parameters)


@pytest.mark.parametrize(
    ("name", "policy", "named"),
    [
        ("dytc", Copying, "a built-in method has this id"),
        ("taken", Copying, "Copying is registered under this id"),
        ("two words", Copying, "an id is letters"),
        ("a,b", Copying, "an id is letters"),
        ("", Copying, "an id is letters"),
        ("all", Copying, "not 'all'"),
        ("copying", Copying(), "no subclass of casspec.runtime.policies.base.Policy"),
        ("copying", dict, "no subclass of casspec.runtime.policies.base.Policy"),
        ("copying", Draftless, "Draftless has no `draft` of its own"),
        ("copying", Summaryless, "Summaryless needs a `summary`"),
    ],
)
def test_what_cannot_be_a_method_is_refused_in_one_line(name: str, policy: Any, named: str) -> None:
    casspec.register_method("taken", Copying)
    before = casspec.methods()
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        casspec.register_method(name, policy)
    assert "\n" not in str(refusal.value)
    assert casspec.methods() == before


# --------------------------------------------------------------------------------------------------------- entry points


def test_a_method_of_an_installed_distribution_is_found(install: Callable[..., None]) -> None:
    install("copier", COPYING, ("copier-copying", "copier:Copying"))
    assert casspec.methods()["copier-copying"] == "the newest token once more"
    target, prompt = tiny_target(seed=7), repetitive_prompt(20)
    expected = Decoder(target, method="autoregressive").generate(prompt, 12).token_ids
    assert Decoder(target, method="copier-copying").generate(prompt, 12).token_ids == expected


def test_distributions_are_asked_once_and_not_for_a_built_in_method() -> None:
    calls = []
    registry = MethodRegistry(METHODS, lambda: calls.append(1) or ())  # type: ignore[func-returns-value]
    registry.find("dytc")
    assert calls == []
    for _ in range(2):
        registry.all()
        with pytest.raises(UnsupportedOption, match="unknown method 'magic'; methods: autoregressive"):
            registry.find("magic")
    assert calls == [1]


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("import no_such_module", "faulty:Copying", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('first line\\nsecond')", "faulty:Copying", "RuntimeError: first line"),
        ("", "faulty:Copying", "AttributeError"),
        ("Copying = 3", "faulty:Copying", "3 is no subclass"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_told_in_a_line_and_others_work(
    install: Callable[..., None], caplog: pytest.LogCaptureFixture, source: str, value: str, reason: str
) -> None:
    install("faulty", source, ("faulty-copying", value))
    install("sound", COPYING, ("sound-copying", "sound:Copying"))
    with caplog.at_level(logging.WARNING, "casspec"):
        listed = casspec.methods()
        casspec.methods()
    assert "sound-copying" in listed
    assert listed.keys() - METHODS.keys() == {"sound-copying"}
    (record,) = caplog.records
    assert "method 'faulty-copying' of distribution 'faulty' cannot be used" in record.getMessage()
    assert reason in record.getMessage()
    assert "\n" not in record.getMessage()
    with pytest.raises(UnsupportedOption, match="distribution 'faulty'"):
        Decoder(tiny_target(), method="faulty-copying")


def test_an_id_belongs_to_who_had_it_first(install: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    install("second", COPYING, ("shared", "second:Copying"), ("dytc", "second:Copying"))
    install("first", COPYING, ("shared", "first:Copying"))  # put before it on the path
    with pytest.raises(UnsupportedOption, match="distribution 'first' declares this id"):
        casspec.register_method("shared", Copying)
    assert "'dytc' of distribution 'second' cannot be used: a built-in method has this id" in caplog.text
    assert "'shared' of distribution 'second' cannot be used: distribution 'first' declares this id too" in caplog.text
    assert policies.method_class("shared").__module__ == "first"


def test_a_method_may_be_declared_and_registered_by_its_own_module(install: Callable[..., None]) -> None:
    source = (
        "import casspec\nfrom tests.runtime.own_methods import Copying\n\n\nclass Mine(Copying):\n    pass\n\n\n"
        'casspec.register_method("mine", Mine)\n'
    )
    install("twofold", source, ("mine", "twofold:Mine"))
    assert "mine" in casspec.methods()
    assert Decoder(tiny_target(), method="mine").generate(repetitive_prompt(20), 8).token_ids


def test_a_module_that_registers_while_it_is_imported_does_both(install: Callable[..., None]) -> None:
    more = COPYING + "\nimport casspec\ncasspec.register_method('by-call', Copying)\nassert casspec.methods()\n"
    install("busy", more, ("by-entry-point", "busy:Copying"))
    assert {"by-call", "by-entry-point"} <= casspec.methods().keys()


# ------------------------------------------------------------------------------------------------- what it can do wrong


class Random(Policy):
    """Trees of random shape and size, and nothing learned."""

    summary = "noise"

    def __init__(self) -> None:
        self._chance = random.Random(0)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        for _ in range(self._chance.randrange(MAX_TREE_NODES)):
            node = self._chance.randrange(len(tree))
            if tree.depths[node] < max_depth:
                tree.add(node, self._chance.randrange(VOCAB), "random", self._chance.random())
        return tree


class Forgetful(Random):
    """Runs a plan on one tree and hands in another."""

    def begin(self, sequence: Sequence) -> None:
        self._seen: list[VerifyResult] = []

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        asked = super().draft(sequence, max_depth)
        sequence.propose(policies.base.evenly_sparse(4, 0.5), asked, list(range(len(asked))), width=3)
        return super().draft(sequence, max_depth)

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        self._seen.append(result)


@pytest.mark.parametrize("policy", [Random, Forgetful])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "top_k": 7, "seed": 5}])
def test_whatever_is_drafted_the_text_is_the_targets(policy: type[Policy], sampling: dict[str, Any]) -> None:
    casspec.register_method("wild", policy)
    target, prompt = tiny_target(seed=7), repetitive_prompt(15)
    expected = Decoder(target, method="autoregressive").generate(prompt, 60, **sampling).token_ids
    decoder = Decoder(target, method="wild")
    for _ in range(2):
        assert decoder.generate(prompt, 60, **sampling).token_ids == expected


class OtherRoot(Policy):
    summary = "a tree that begins elsewhere"

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        return CandidateTree((sequence.tokens[-1] + 1) % VOCAB)


class TooDeep(Policy):
    summary = "a token too deep"

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for _ in range(max_depth + 1):
            node = tree.add(node, 0)
        return tree


class TooLarge(Policy):
    summary = "a node too many"

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        for place in range(MAX_TREE_NODES):
            tree.add(place // 5, place % VOCAB)
        return tree


class OutOfVocabulary(Policy):
    summary = "a token there is not"

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        tree.add(0, VOCAB)
        return tree


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (OtherRoot, "root is token"),
        (TooDeep, "11 tokens deep, where at most 10"),
        (TooLarge, f"a tree of {MAX_TREE_NODES + 1} nodes"),
        (OutOfVocabulary, f"outside the vocabulary of {VOCAB}"),
    ],
)
def test_a_tree_that_no_step_can_verify_is_refused_in_one_line(policy: type[Policy], named: str) -> None:
    casspec.register_method("broken", policy)
    with pytest.raises(BrokenMethod, match=named) as refusal:
        Decoder(tiny_target(), method="broken").generate([1, 2, 3], 11)
    assert "method 'broken' drafted" in str(refusal.value)
    assert "\n" not in str(refusal.value)
