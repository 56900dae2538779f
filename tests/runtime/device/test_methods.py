"""Every method decodes on a device without waiting for it but once a forward, and says there what it says on the host."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies import METHODS
from casspec.storage.schema import Precision
from tests.runtime.device.recorded import N_TOKENS, PROMPT, Recording, host_target, profile, recorded, replayed

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 0.8, "seed": 1},
    "top-k": {"temperature": 0.9, "seed": 2, "top_k": 9},
    "top-p": {"temperature": 1.0, "seed": 3, "top_p": 0.8},
    "min-p": {"temperature": 1.1, "seed": 4, "min_p": 0.05},
}
ADJUSTED: dict[str, dict[str, Any]] = {
    "penalties": {"repetition_penalty": 1.2, "presence_penalty": 0.3, "temperature": 0.7, "seed": 5},
    "left out": {"bad_words": [[3], [4, 5]], "suppress_tokens": [7], "min_new_tokens": 9, "stop_token_ids": [1]},
    "biased": {"logit_bias": {2: 1.5, 6: -2.0}, "logprobs": 3},
}
"""Options that look at the rows themselves, and may read more than once."""

# A processor without 8-bit kernels refuses them, in one line.
RUNNING = [name for name in METHODS if name != "quantised" or host_target().refusal(Precision.INT8_DYNAMIC) is None]
SEARCHING = {"knapspec"}
"""Methods that read while they search for a skip set, once a sub-layer."""


@cache
def recording_of(method: str, name: str) -> Recording:
    return recorded(method, {"max_new_tokens": N_TOKENS, **(SAMPLINGS | ADJUSTED)[name]})


@pytest.mark.parametrize("name", [*SAMPLINGS, *ADJUSTED])
@pytest.mark.parametrize("method", RUNNING)
def test_the_text_of_the_devices_path_is_that_of_the_host(method: str, name: str) -> None:
    options = {"max_new_tokens": N_TOKENS, **(SAMPLINGS | ADJUSTED)[name]}
    expected = Decoder(host_target(), profile(), method).generate(PROMPT, **options)
    assert recording_of(method, name).token_ids == expected.token_ids


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *((method, name) for method in RUNNING for name in ("greedy", "sampled")),
        *((method, name) for method in ("layer-sparse", "dytc") for name in ("top-k", "top-p", "min-p")),
    ],
)
def test_a_forward_is_read_once_and_nothing_else_crosses(method: str, name: str) -> None:
    recording = recording_of(method, name)
    options = {"max_new_tokens": N_TOKENS, **SAMPLINGS[name]}
    device, token_ids = replayed(recording, method, options)
    assert token_ids == recording.token_ids
    assert device.count.reads == len(recording.answers)
    if method not in SEARCHING:
        assert device.count.reads == device.count.forwards


@pytest.mark.parametrize("name", ADJUSTED)
@pytest.mark.parametrize("method", ["autoregressive", "prompt-lookup", "dytc"])
def test_nothing_crosses_unseen_where_a_request_looks_at_rows(
    method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = recording_of(method, name)
    monkeypatch.setattr("tests.runtime.device.guard.ReadCount.read", lambda count: None)
    _, token_ids = replayed(recording, method, {"max_new_tokens": N_TOKENS, **ADJUSTED[name]})
    assert token_ids == recording.token_ids
