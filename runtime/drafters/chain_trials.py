"""How often the tokens of chains are right, learned from what is emitted, whether a token was verified or not.

A chain stays open until it went wrong or came to its end: each emitted token is a trial of the chain's next one. So cells learn from
every token, also while nothing is drafted, and what is learned does not depend on how much was drafted.

A text's lift says how much better than others it is copied: its log odds over the cells', learned as logistic regression learns an
intercept, one step a trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log

import numpy as np

from casspec.runtime.decoding.acceptance import AcceptanceTable, CellCounter, CountingTable
from casspec.runtime.drafters.text_chains import (
    N_CELLS,
    N_LENGTH,
    N_SHARE,
    OWN,
    TABLE,
    IndexedText,
    TextMemory,
    draft,
)
from casspec.storage.schema import AcceptancePrior, Mode

LIFT_RATE = 0.25
LIFT_KEPT = 0.99
"""Of a lift from one trial to the next."""
MOST_LIFT = 3.0
OF_SHARE = (0.0, 1.2, 0.5, -0.8)
"""What the share of places that agree adds to built-in log odds."""
_LEAST_ODDS = 1e-4
_CHAIN_TOKENS = 16


def built_in_means() -> list[float]:
    """Start values by cell, for use without a calibration: rising with the match's length and with how unanimous its places are.

    Logistic curves fitted to a small chat model's answers on the tuning half of the chat suite, sampled at T = .7.
    """
    means = []
    for cell in range(N_CELLS):
        place, share = divmod(cell, N_SHARE)
        source, bucket = divmod(place, N_LENGTH)
        of_length = -1.3 + 0.55 * bucket if source == OWN else -1.9 + 0.4 * bucket
        means.append(1 / (1 + exp(-of_length - OF_SHARE[share])))
    return means


def table_of(prior: AcceptancePrior | None) -> AcceptanceTable:
    """Cells that start from a calibration, or from `built_in_means`."""
    return AcceptanceTable(TABLE, built_in_means(), prior)


class ChainAcceptance:
    """Cells of all texts.

    Attributes:
        log_odds: [N_CELLS] float64, for `text_chains.draft`.
    """

    def __init__(self, table: AcceptanceTable) -> None:
        self._table = table
        self.log_odds = np.array([_log_odds(estimate) for estimate in table.estimate])

    def update(self, cell: int, accepted: bool) -> None:
        self._table.update(cell, accepted)
        self.log_odds[cell] = _log_odds(self._table.estimate[cell])


class ChainTrial:
    """The open chain of one text, and its lift."""

    def __init__(self, acceptance: ChainAcceptance) -> None:
        self.lift = 0.0
        self._acceptance = acceptance
        self._tokens: Sequence[int] = ()
        self._cells: Sequence[int] = ()
        self._next = 0

    @property
    def is_open(self) -> bool:
        return self._next < len(self._tokens)

    def open(self, tokens: Sequence[int], cells: Sequence[int]) -> None:
        """Takes a chain that begins with the token to be emitted next."""
        self._tokens, self._cells, self._next = tokens, cells, 0

    def close(self) -> None:
        self._tokens = ()

    def score(self, emitted: Iterable[int]) -> None:
        """Counts a trial for each emitted token that the chain has one for."""
        for token in emitted:
            if not self.is_open:
                return
            cell, accepted = self._cells[self._next], self._tokens[self._next] == token
            expected = 1 / (1 + exp(-(float(self._acceptance.log_odds[cell]) + self.lift)))
            lift = LIFT_KEPT * self.lift + LIFT_RATE * (accepted - expected)
            self.lift = min(max(lift, -MOST_LIFT), MOST_LIFT)
            self._acceptance.update(cell, accepted)
            self._next = self._next + 1 if accepted else len(self._tokens)


def counted(
    texts: Iterable[tuple[Sequence[int], Sequence[int]]],
    mode: Mode,
    memory_tokens: int = 0,
    n_tokens: int = _CHAIN_TOKENS,
) -> AcceptancePrior:
    """Trials by cell over texts that an engine wrote: a calibration.

    Args:
        texts: prompt and output of each, in the order in which outputs come to the memory.
        n_tokens: longest chain.
    """
    counter = CellCounter()
    acceptance = ChainAcceptance(CountingTable(TABLE, built_in_means(), counter))
    memory = TextMemory(memory_tokens)
    tokens, cells, masses = np.empty(n_tokens, np.int32), np.empty(n_tokens, np.int32), np.empty(n_tokens)
    for prompt, output in texts:
        text, trial = IndexedText(), ChainTrial(acceptance)
        text.extend(np.asarray(prompt, np.int32))
        for token in output:
            if not trial.is_open:
                n = draft(text.state, memory.state, acceptance.log_odds, trial.lift, tokens, cells, masses)
                trial.open(tokens[:n].tolist(), cells[:n].tolist())
            trial.score((token,))
            text.extend(np.array([token], np.int32))
        memory.add(np.asarray(output, np.int32))
    return AcceptancePrior(mode=mode, cells=counter.cells())


def _log_odds(probability: float) -> float:
    probability = min(max(probability, _LEAST_ODDS), 1 - _LEAST_ODDS)
    return log(probability / (1 - probability))
