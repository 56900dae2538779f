"""A request's way through what the target says: which tokens are emitted, and where the text ends.

The target's token y after every visited node is already final (`runtime/decoding/noise.py`), so acceptance is an equality test: take y,
descend if y is a child, else emit it as the bonus token and stop. The walk visits one node after the other and never goes back. So
whatever looks at the text so far (penalties, a processor, a stop string) is asked exactly where the walk stands, once a token, as plain
decoding asks it, and nothing is asked past the end of the text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Sequence as Several
from typing import Literal

import torch
from torch import Tensor

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import TargetOutputs
from casspec.runtime.model.transfers import to_device
from casspec.runtime.text.logprobs import TokenLogprobs, token_logprobs
from casspec.runtime.text.request import Request
from casspec.runtime.text.stopping import StoppedText
from casspec.storage.errors import UnsupportedOption

FinishReason = Literal["stop", "length"]

Processed = Callable[[Tensor, Several[int]], Tensor]
"""(scores [1, vocab], tokens emitted since the step began) -> scores after the request's processors."""


class Walk:
    """One text on its way.

    Args:
        sequence: of the request. limit: tokens that may be emitted, at least one. ends: tokens that end it.
        text: of what is emitted, where the request has stop strings or somebody reads along.

    Attributes:
        finish_reason: None until the text is over; "length" at the limit. stop_reason: the token or string that ended it, if one did.
        logprobs: of what was emitted, where asked for.
        raw_scores, scores: rows [1, vocab] of what was emitted, as they came and as sampled from, where they are kept.
    """

    def __init__(
        self, request: Request, sequence: Sequence, limit: int, ends: frozenset[int], text: StoppedText | None = None
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.stop_reason: int | str | None = None
        self.logprobs: list[TokenLogprobs] = []
        self.raw_scores: list[Tensor] = []
        self.scores: list[Tensor] = []
        self.remaining = limit
        self._request, self._sequence, self._ends, self._text = request, sequence, ends, text
        self._processors = [copy.deepcopy(processor) for processor in request.processors]
        self._so_far: Tensor | None = None
        if request.processors or request.criteria:
            shown = [*request.padding, *sequence.tokens]
            self._so_far = torch.empty(1, len(shown) + limit, dtype=torch.int64, device=sequence.device)
            self._so_far[0, : len(shown)] = to_device(shown, sequence.device)

    def along(self, tree: CandidateTree, outputs: TargetOutputs) -> tuple[list[int], list[int]]:
        """The accepted path and the tokens it emits.

        Args:
            tree: verified, its root the last token of the text. outputs: what the target said of it.

        Returns:
            (nodes root first, tokens): one token a node of the path; the last one is the new root of the next step.
        """
        path, node = [0], 0
        emitted: list[int] = []
        answers = _Rows(self._request, self._sequence, tree, outputs) if self._request.looks_at_rows else None
        while True:
            if answers is None:
                token = self._token_after(node, emitted, tree, outputs)
            else:
                token = answers.token_after(node, emitted, self._processed)
                self._check(token, emitted)
                self._record(token, answers)
            emitted.append(token)
            if self._is_over(emitted):
                break
            child = tree.child(node, token)
            if child is None:
                break
            path.append(child)
            node = child
        self.remaining -= len(emitted)
        return path, emitted

    def _token_after(self, node: int, emitted: Several[int], tree: CandidateTree, outputs: TargetOutputs) -> int:
        """The target's token, where nothing but a grammar changes its row.

        The best of all tokens is the best of those that are left, if it is one of them. So hardly a row is masked.
        """
        sequence, grammar = self._sequence, self._sequence.grammar
        if grammar is None:
            return outputs.token_after(node)
        forced = grammar.forced(emitted)
        if forced:
            return forced[0]
        token = outputs.token_after(node)
        if not grammar.goes_on(emitted, token):
            scores = sequence.adjusted(outputs.logits[node : node + 1], [emitted])
            (token,) = sequence.sampled(scores, [tree.depths[node]])
            self._check(token, emitted)
        return token

    def _processed(self, scores: Tensor, emitted: Several[int]) -> Tensor:
        """Scores [1, vocab] after the request's processors."""
        for processor in self._processors:
            shape = scores.shape
            scores = processor(self._ids(len(emitted)), scores)
            if not isinstance(scores, Tensor) or scores.shape != shape or bool(scores.isnan().any()):
                raise UnsupportedOption(
                    f"logits processor {type(processor).__name__} gave no scores of shape {list(shape)} without NaN; leave it out"
                )
        return scores

    def _check(self, token: int, emitted: Several[int]) -> None:
        """Refuses a token outside the grammar: nothing inside was left."""
        grammar = self._sequence.grammar
        if grammar is not None and not grammar.allows(emitted, token):
            raise UnsupportedOption(
                "no token that the grammar allows is left here; loosen it, or options that leave tokens out (processors, bad_words, "
                "suppress_tokens, min_new_tokens)"
            )

    def _ids(self, n_emitted: int) -> Tensor:
        """The text so far [1, tokens], with as many tokens of this step."""
        assert self._so_far is not None
        return self._so_far[:, : self._length() + n_emitted]

    def _length(self) -> int:
        """Tokens of the text before this step, padding included."""
        return len(self._request.padding) + len(self._sequence.tokens)

    def _is_over(self, emitted: Several[int]) -> bool:
        """Takes the last of the tokens `emitted` in this step; whether the text ends with it."""
        token, n_emitted = emitted[-1], len(emitted)
        if self._so_far is not None:
            self._so_far[:, self._length() + n_emitted - 1].fill_(token)
        if self._text is not None and self._text.push(token):
            self.finish_reason, self.stop_reason = "stop", self._text.stopped_by
        elif token in self._ends:
            self.finish_reason, self.stop_reason = "stop", token
        elif self._is_ended(emitted):
            self.finish_reason = "stop"
        elif n_emitted == self.remaining:
            self.finish_reason = "length"
        return self.finish_reason is not None

    def _is_ended(self, emitted: Several[int]) -> bool:
        """Whether a criterion says so, or the grammar has nothing that could follow."""
        if any(bool(criterion(self._ids(len(emitted)), None)) for criterion in self._request.criteria):
            return True
        grammar = self._sequence.grammar
        return grammar is not None and grammar.is_complete(emitted)

    def _record(self, token: int, answers: _Rows) -> None:
        request = self._request
        if request.logprobs is not None:
            self.logprobs.append(token_logprobs(token, answers.raw[0], answers.scores[0], request.logprobs))
        if request.keep_scores:
            self.raw_scores.append(answers.raw.float().clone())
            self.scores.append(answers.scores.clone())


class _Rows:
    """The target's rows of one step, shaped as a request asks: on a device all at once where that can be, else one by one.

    Attributes:
        raw, scores: of the node asked about last [1, vocab]: as it came, and as its token was sampled from.
    """

    def __init__(self, request: Request, sequence: Sequence, tree: CandidateTree, outputs: TargetOutputs) -> None:
        self._request, self._sequence, self._tree, self._logits = request, sequence, tree, outputs.logits
        self._recorded = request.logprobs is not None or request.keep_scores
        self._tokens: list[int] | None = None
        if not sequence.on_host and not request.processors:
            suffixes = [tree.path_tokens(node)[1:] for node in range(len(tree))]
            self._adjusted = sequence.adjusted(outputs.logits, suffixes)
            self._tokens = sequence.sampled(self._adjusted, tree.depths)

    def token_after(self, node: int, emitted: Several[int], processed: Processed) -> int:
        """The token emitted after a node, `emitted` being those on the way to it from the root."""
        self.raw = self._logits[node : node + 1]
        if self._tokens is not None:
            scores, token = self._adjusted[node : node + 1], self._tokens[node]
        else:
            scores = processed(self._sequence.adjusted(self.raw, [emitted]), emitted)
            (token,) = self._sequence.sampled(scores, [self._tree.depths[node]])
        if self._recorded:
            self.scores = self._request.sampling.scores(scores)
        return token
