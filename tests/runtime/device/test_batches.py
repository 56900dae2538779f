"""A batch on a device reads once a forward for all its texts, each of which is the text it is alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from casspec.runtime.batching.engine import BatchEngine
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding import sequence
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.target import TargetModel
from tests.runtime.device.recorded import host_target, profile
from tests.runtime.tiny import repetitive_prompt

PROMPTS = [repetitive_prompt(n, seed=n) for n in (9, 40, 17, 3)]


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.8, "seed": 5}, {"temperature": 1.0, "top_p": 0.8, "seed": 6}]
)
@pytest.mark.parametrize("method", ["autoregressive", "prompt-lookup", "token-recycling", "static-tree", "dytc"])
def test_texts_of_a_batch_are_read_together(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"max_new_tokens": 20, **options}
    decoder = Decoder(host_target(), profile(), method)
    alone = [decoder.generate(prompt, **asked).token_ids for prompt in PROMPTS]

    parts, reads = list[int](), list[int]()
    forward, heard = TargetModel.joint_forward, TargetModel.heard

    def counted(self: TargetModel, inputs: JointInput, *rest: Any) -> torch.Tensor:
        parts.append(len(inputs.parts))
        return forward(self, inputs, *rest)

    def counted_reads(self: TargetModel, answers: torch.Tensor) -> np.ndarray:
        reads.append(len(parts))
        return heard(self, answers)

    monkeypatch.setattr(sequence, "is_host", lambda device: False)
    monkeypatch.setattr(TargetModel, "joint_forward", counted)
    monkeypatch.setattr(TargetModel, "heard", counted_reads)
    engine = BatchEngine(Decoder(host_target(), profile(), method))
    texts = [engine.submit(prompt, **asked) for prompt in PROMPTS]
    engine.run()
    assert [text.result().token_ids for text in texts] == alone
    assert max(parts) == len(PROMPTS)
    assert len(set(reads)) == len(reads) <= len(parts)
