"""Trees inside a grammar."""

from __future__ import annotations

import numpy as np
import torch

from casspec.runtime.decoding.constrained import FORCED, ConstrainedTree, best_allowed
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import KnownTokens
from casspec.runtime.text.compiled_grammars import compiler_of
from casspec.runtime.text.grammar import Grammar
from casspec.runtime.text.grammar_state import GrammarState
from tests.runtime.tiny import VOCAB
from tests.runtime.tiny_grammars import END, bracket_tokenizer


def state_of(pattern: str) -> GrammarState:
    return compiler_of(bracket_tokenizer(), VOCAB).begin(Grammar("regex", pattern), [END])


def tree_of(*texts: str, probability: float = 0.0) -> CandidateTree:
    tree = CandidateTree(0)
    for text in texts:
        node = 0
        for letter in text:
            node = tree.add(node, bracket_tokenizer().encode(letter)[0], "drafter", probability)
    return tree


def paths_of(tree: CandidateTree) -> set[str]:
    return {bracket_tokenizer().decode(tree.path_tokens(node)[1:]) for node in range(len(tree))}


def test_nodes_outside_the_grammar_go_with_all_below_them() -> None:
    made = ConstrainedTree.of(tree_of("bab", "cab", "bbb"), state_of("b[abc]*"), 10, 128)
    assert paths_of(made.verified) == {"", "b", "ba", "bab", "bb", "bbb"}
    assert made.n_drafted == len(made.drafted) == 9
    tokens = [made.drafted.tokens[place] for place in made.places]
    assert tokens == made.verified.tokens


def test_forced_tokens_are_added_below_the_root_and_below_the_end_of_a_chain() -> None:
    made = ConstrainedTree.of(tree_of(), state_of("tubes?"), 10, 128)
    assert paths_of(made.verified) == {"", "t", "tu", "tub", "tube"}
    assert made.verified.drafters[1:] == [FORCED] * 4
    assert made.n_drafted == 1
    below = ConstrainedTree.of(tree_of("cc"), state_of("[cd]{2}tubes?"), 10, 128)
    assert max(paths_of(below.verified), key=len) == "cctube"


def test_no_more_is_forced_than_there_is_room_and_depth_for() -> None:
    assert max(ConstrainedTree.of(tree_of(), state_of("tubes?"), 2, 128).verified.depths) == 2
    assert len(ConstrainedTree.of(tree_of(), state_of("tubes?"), 9, 3).verified) == 3
    assert len(ConstrainedTree.of(tree_of("t"), state_of("tubes?"), 0, 128).verified) == 2


def test_the_token_that_ends_the_text_is_not_drafted() -> None:
    assert max(paths_of(ConstrainedTree.of(tree_of(), state_of("tube"), 9, 128).verified), key=len) == "tub"


def test_of_several_paths_only_likely_ones_are_gone_on_with() -> None:
    tree = tree_of("c", probability=0.9)
    tree.add(0, bracket_tokenizer().encode("d")[0], "drafter", 0.1)
    assert paths_of(ConstrainedTree.of(tree, state_of("[cd]tube"), 10, 128).verified) == {
        "",
        "c",
        "d",
        "ct",
        "ctu",
        "ctub",
    }


def test_outputs_are_asked_for_by_nodes_of_what_was_drafted() -> None:
    made = ConstrainedTree.of(tree_of("ab", "bb"), state_of("b+"), 10, 128)
    n = len(made.verified)
    logits = torch.randn(n, VOCAB)
    inner = KnownTokens(logits, lambda: list(range(10, 10 + n)))
    said = made.outputs(inner)
    path = made.of_drafted([0, 1, 2])
    assert [made.drafted.depths[node] for node in path] == [0, 1, 2]
    assert [said.token_after(node) for node in path] == [10, 11, 12]
    assert said.rows(path) == inner.rows([0, 1, 2])
    assert said.row_arrays(path)[0].tolist() == inner.row_arrays([0, 1, 2])[0].tolist()
    assert made.ruled_out == {1, 2}


def test_a_tree_without_a_grammar_stays_as_it_was_drafted() -> None:
    tree = tree_of("ab", "cd")
    made = ConstrainedTree.free(tree)
    assert made.verified is made.drafted is tree
    outputs = KnownTokens(torch.zeros(len(tree), VOCAB), lambda: [])
    assert made.outputs(outputs) is outputs
    assert made.ruled_out == frozenset()
    assert made.of_drafted([0, 3]) == [0, 3]


def test_the_best_allowed_tokens_are_those_of_masked_rows() -> None:
    grammar, n = state_of("[ab]{2}tube(s|d|c|b)*"), 3
    letters = [bracket_tokenizer().encode(text) for text in ("", "a", "ab", "abtube", "c")]
    logits = torch.randn(len(letters), VOCAB, generator=torch.Generator().manual_seed(3))
    best = logits.topk(12, dim=-1)
    ids, scores, unclear = best_allowed(grammar, letters, best.indices.numpy(), best.values.numpy(), n)
    masked = logits.clone()
    grammar.mask(masked, letters)
    for row in set(range(len(letters))) - set(unclear):
        expected = masked[row].topk(n)
        assert ids[row, 0] == expected.indices[0]
        if grammar.forced(letters[row]):
            assert scores[row, 1:].tolist() == expected.values[1:].tolist() == [-torch.inf] * 2
        else:
            assert ids[row].tolist() == expected.indices.tolist()
            assert scores[row].tolist() == expected.values.tolist()
    assert all(int((masked[row].topk(12).values > best.values[row, -1]).sum()) < n for row in unclear)


def test_rows_outside_the_grammar_keep_their_best_tokens() -> None:
    outside = [bracket_tokenizer().encode("c")]
    ids, scores = np.array([[4, 3, 2, 1]]), np.array([[4.0, 3.0, 2.0, 1.0]], np.float32)
    found = best_allowed(state_of("a*"), outside, ids, scores, 2)
    assert found[0].tolist() == [[4, 3]]
    assert found[1].tolist() == [[4.0, 3.0]]
    assert found[2] == []
