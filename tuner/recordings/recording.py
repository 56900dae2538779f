"""The target's own continuations, recorded once: what every offline question of the tuner is asked of.

A recording holds the text the target emits after a prompt and, for every position of prompt and continuation, the ids
and logits of its best successors. Verification is an equality test against exactly this text (`casspec.runtime.decoding.noise`),
so how often a drafter would be accepted, and what a policy would emit, follows from recordings without running the
target again.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

import numpy as np

from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.drafters.retrieval_passes import LEAST
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import Mode


def prompt_seed(seed: int, prompt_id: str) -> int:
    """Seed of the noise for one prompt, 63 bits: prompts of one run are independent, repeats of one prompt are equal."""
    digest = hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@dataclass(frozen=True, eq=False)
class Recording:
    """One prompt with the target's continuation.

    Attributes:
        seed: of the noise of this prompt (`prompt_seed`).
        temperature: 0 for mode "greedy".
        prompt_tokens, continuation_tokens: int32 [n].
        top_ids, top_logits: int32 and float32 [prompt + continuation, TOP_SUCCESSORS], the target's best successors after each
            position, best first, logits as they come (before temperature and noise).
    """

    prompt_id: str
    task: str
    mode: Mode
    seed: int
    temperature: float
    prompt_tokens: np.ndarray
    continuation_tokens: np.ndarray
    top_ids: np.ndarray
    top_logits: np.ndarray

    @property
    def conversation_id(self) -> str:
        """What all turns of a conversation have in common: the ID without the number of a later turn."""
        return re.sub(r"#\d+$", "", self.prompt_id)

    @property
    def tokens(self) -> np.ndarray:
        """Prompt and continuation, int32 [n]. The noise of the token at index i is that of emitted position i."""
        return np.concatenate((self.prompt_tokens, self.continuation_tokens))

    @cached_property
    def successors(self) -> tuple[list[list[int]], list[list[float]]]:
        """`top_ids` and `top_logits` as policies take them; made once, for a recording is replayed many times."""
        return self.top_ids.tolist(), self.top_logits.tolist()

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature)

    def to_bytes(self) -> bytes:
        """A JSON line with names and sizes, then the four arrays, little endian; compressed, and equal for equal
        recordings.
        """
        header = {
            "prompt_id": self.prompt_id,
            "task": self.task,
            "mode": self.mode,
            "seed": self.seed,
            "temperature": self.temperature,
            "sizes": [len(self.prompt_tokens), len(self.continuation_tokens), self.top_ids.shape[1]],
        }
        arrays = (self.prompt_tokens, self.continuation_tokens, self.top_ids)
        body = b"".join(array.astype("<i4").tobytes() for array in arrays) + self.top_logits.astype("<f4").tobytes()
        return zlib.compress(json.dumps(header, sort_keys=True).encode() + b"\n" + body, level=1)

    @classmethod
    def from_bytes(cls, content: bytes) -> Recording:
        line, _, body = zlib.decompress(content).partition(b"\n")
        header = json.loads(line)
        n_prompt, n_continuation, width = header.pop("sizes")
        n = n_prompt + n_continuation
        numbers = np.frombuffer(body, "<i4", n + n * width)
        return cls(
            **header,
            prompt_tokens=numbers[:n_prompt],
            continuation_tokens=numbers[n_prompt:n],
            top_ids=numbers[n:].reshape(n, width),
            top_logits=np.frombuffer(body, "<f4", n * width, offset=numbers.nbytes).reshape(n, width),
        )


def recycling_matrix(recordings: Iterable[Recording], vocab_size: int) -> RecyclingMatrix:
    """Start state of token recycling: the mean of what the target said after each token, wherever it stands.

    The published drafter starts from the last row it saw (Luo et al. 2024), which lists the true token less often. Rows are log
    probabilities among the successors a recording keeps.
    """
    matrix, found = RecyclingMatrix.empty(vocab_size), list(recordings)
    if not found:
        return matrix
    tokens = np.concatenate([recording.tokens for recording in found]).astype(np.int64)
    ids = np.concatenate([recording.top_ids for recording in found])
    logits = np.concatenate([recording.top_logits for recording in found]).astype(np.float64)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    pairs, places = np.unique(tokens[:, None] * vocab_size + ids, return_inverse=True)
    means = np.bincount(places.ravel(), weights.ravel()) / np.bincount(tokens)[pairs // vocab_size]
    order = np.lexsort((pairs, -means, pairs // vocab_size))  # by token, likeliest successor first
    owners, successors = np.divmod(pairs[order], vocab_size)
    ranks = np.arange(len(owners)) - np.searchsorted(owners, owners)
    kept = ranks < TOP_SUCCESSORS
    matrix.token_ids[owners[kept], ranks[kept]] = successors[kept]
    matrix.logits[owners[kept], ranks[kept]] = np.log(np.maximum(means[order][kept], LEAST))
    return matrix


def typical_context(recordings: Sequence[Recording]) -> int:
    """Committed rows halfway through a recording, on average: where costs are compared."""
    return round(mean(len(r.prompt_tokens) + len(r.continuation_tokens) / 2 for r in recordings))
