"""Early exit: which layers a share of them is."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.early_exit import first_layers
from casspec.storage.errors import UnsupportedOption
from tests.runtime.tiny import tiny_target


@pytest.mark.parametrize(("share", "layers"), [(0.5, [0, 1, 2, 3]), (0.01, [0]), (1.0, list(range(8)))])
def test_an_early_exit_runs_the_first_layers_whole(share: float, layers: list[int]) -> None:
    assert first_layers(8, share).steps == tuple((layer, True, True) for layer in layers)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_an_exit_outside_the_layers_is_refused_in_one_line(share: float) -> None:
    with pytest.raises(UnsupportedOption, match=r"exit_share .* \(0, 1\]") as refusal:
        Decoder(tiny_target(), method="early-exit", parameters={"exit_share": share})
    assert "\n" not in str(refusal.value)
