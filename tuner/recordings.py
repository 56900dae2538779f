"""The target's own continuations, recorded once: what every offline question of the tuner is asked of.

A recording holds the text the target emits after a prompt and, for every position of prompt and continuation, the ids
and logits of its best successors. Verification is an equality test against exactly this text (`casspec.runtime.noise`),
so how often a drafter would be accepted, and what a policy would emit, follows from recordings without running the
target again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from casspec.runtime.drafters.token_recycling import WIDTH, RecyclingMatrix
from casspec.runtime.sampling import Sampling
from casspec.runtime.target import TargetModel
from casspec.storage.schema import Mode
from casspec.tuner.teacher import teacher_forced

Decode = Callable[[list[int], Sampling, int], Sequence[int]]
"""(prompt token ids, sampling, seed) -> new token ids: any lossless decoding of the target, they all emit the same
text.
"""


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
        top_ids, top_logits: int32 and float32 [prompt + continuation, WIDTH], the target's best successors after each
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


def record(
    target: TargetModel,
    decode: Decode,
    prompt_id: str,
    task: str,
    prompt_tokens: Sequence[int],
    mode: Mode,
    temperature: float,
    seed: int,
) -> Recording:
    """Decodes one prompt, then scores its whole text in one teacher-forced pass. `temperature` matters for mode
    "sample" only.
    """
    noise_seed = prompt_seed(seed, prompt_id)
    sampling = Sampling(temperature=temperature if mode == "sample" else 0.0)
    continuation = list(decode(list(prompt_tokens), sampling, noise_seed))
    text = [*prompt_tokens, *continuation]
    width = min(WIDTH, target.vocab_size)
    ids = np.empty((len(text), width), np.int32)
    logits = np.empty((len(text), width), np.float32)
    with torch.inference_mode():
        for start, hidden in teacher_forced(target, text, target.new_cache(len(text))):
            values, indices = torch.nn.functional.linear(hidden, target.head).float().topk(width, dim=-1)
            ids[start : start + len(values)] = indices.cpu().numpy()
            logits[start : start + len(values)] = values.cpu().numpy()
    return Recording(
        prompt_id=prompt_id,
        task=task,
        mode=mode,
        seed=noise_seed,
        temperature=sampling.temperature,
        prompt_tokens=np.asarray(prompt_tokens, np.int32),
        continuation_tokens=np.asarray(continuation, np.int32),
        top_ids=ids,
        top_logits=logits,
    )


def recycling_matrix(recordings: Iterable[Recording], vocab_size: int) -> RecyclingMatrix:
    """Start state of token recycling: each token's successors where it was last seen, recordings taken in the given
    order.

    The last occurrence wins, as it does when the drafter refreshes the matrix while decoding (Luo et al. 2024).
    """
    matrix = RecyclingMatrix.empty(vocab_size)
    for recording in recordings:
        tokens = recording.tokens[::-1]
        last_seen, places = np.unique(tokens, return_index=True)  # first in reversed order
        rows = len(tokens) - 1 - places
        width = recording.top_ids.shape[1]
        matrix.token_ids[last_seen, :width] = recording.top_ids[rows]
        matrix.logits[last_seen, :width] = recording.top_logits[rows]
    return matrix
