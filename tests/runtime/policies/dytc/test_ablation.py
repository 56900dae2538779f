"""Answers that DyTC may be told to do without."""

from __future__ import annotations

import pytest

from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.storage.errors import UnsupportedOption


def test_an_unknown_answer_to_do_without_is_refused() -> None:
    with pytest.raises(UnsupportedOption, match="no answer 'luck'"):
        Ablation.of("leaf, luck")
