"""A decoding method of your own in thirty lines, registered without editing the package.

    python examples/own_policy.py

`PairRepeat` drafts what came after the last place where the two newest tokens stood side by side. `Nonsense` drafts the newest
token again and again. Both decode the same text as autoregressive decoding. A method only drafts: the engine runs the model over
the draft, keeps the tokens that the model itself would have chosen, and adds the model's next one. So a wrong method can only be
slow.

A package that is installed names its method in pyproject.toml instead, and `casspec generate --method pair-repeat` knows it:

    [project.entry-points."casspec.methods"]
    pair-repeat = "my_package.my_module:PairRepeat"
"""

from __future__ import annotations

import casspec
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.base import Policy, VerifyResult

PROMPT = "def area(width, height):\n    return width * height\n\ndef volume(width, height, depth):\n    return width *"


class PairRepeat(Policy):
    summary = "what followed the last occurrence of the newest two tokens"

    def __init__(self, n_tokens: int = 6) -> None:
        self._n_tokens = n_tokens

    def begin(self, sequence: Sequence) -> None:
        self._place_after: dict[tuple[int, ...], int] = {}
        self._n_noted = 2
        self._note(sequence.tokens)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tokens, node = sequence.tokens, 0
        tree = CandidateTree(tokens[-1])
        place = self._place_after.get(tuple(tokens[-2:]), len(tokens))
        for token in tokens[place : place + min(self._n_tokens, max_depth)]:
            node = tree.add(node, token, "pair-repeat")
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        self._note(sequence.tokens)

    def _note(self, tokens: list[int]) -> None:
        for place in range(self._n_noted, len(tokens)):
            self._place_after[tuple(tokens[place - 2 : place])] = place
        self._n_noted = max(2, len(tokens))


class Nonsense(Policy):
    summary = "the newest token again and again"

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for _ in range(min(6, max_depth)):
            node = tree.add(node, sequence.tokens[-1], "nonsense")
        return tree


def main() -> None:
    casspec.register_method("pair-repeat", PairRepeat)
    casspec.register_method("nonsense", Nonsense)
    target = casspec.load_target("reference", dtype="float32")
    prompt = target.tokenizer.encode(PROMPT)
    texts = []
    for method in ("autoregressive", "pair-repeat", "nonsense"):
        decoder = casspec.Decoder(target, method=method)
        decoder.generate(prompt, max_new_tokens=8)  # the first forwards of a process take longer
        generation = decoder.generate(prompt, max_new_tokens=96)
        did = generation.statistics
        texts.append(generation.token_ids)
        print(
            f"{method:15} {did.verify_steps:3} forwards for {did.emitted_tokens} tokens, {did.decode_ms:.0f} ms, "
            f"{did.accepted_tokens} of {did.drafted_tokens} drafted tokens accepted: {casspec.methods()[method]}"
        )
    print("one text from all three" if texts[0] == texts[1] == texts[2] else "the texts differ")


if __name__ == "__main__":
    main()
