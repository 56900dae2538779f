"""What was calibrated is loaded as it was then, unless the user says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

import casspec
from casspec.cli.calibrated import load_for
from casspec.runtime.loading import profile_check
from casspec.storage.errors import ProfileMismatch
from casspec.storage.plans import Forwards
from tests.storage import samples


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was loaded, in place of any model; every profile fits it."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(casspec, "load_target", lambda name, **how: asked.append({"name": name, **how}))
    monkeypatch.setattr(profile_check, "check_profile", lambda profile, target: None)
    return asked


@pytest.mark.parametrize(
    ("device", "forwards", "asked", "compiles"),
    [
        ("cpu", None, None, True),
        ("cpu", "operators", None, False),
        ("cuda", "graphs", None, True),
        ("cuda", None, None, False),
        ("cpu", "operators", True, True),
        ("cuda:0", "graphs", False, False),
    ],
)
def test_forwards_run_as_when_they_were_calibrated_or_as_asked(
    loaded, device: str, forwards: Forwards | None, asked: bool | None, compiles: bool
) -> None:
    profile = samples.profile(dtype="bfloat16", forwards=forwards)
    load_for(profile, "/models/here", device, asked)
    expected = {"dtype": "bfloat16", "backend": "lean", "compiles": compiles}
    assert loaded == [{"name": "/models/here", "device": device, **expected}]


def test_a_model_that_is_not_the_profiles_is_refused(loaded, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise ProfileMismatch("another model")

    monkeypatch.setattr(profile_check, "check_profile", refuse)
    with pytest.raises(ProfileMismatch, match="another model"):
        load_for(samples.profile(), "reference", "cpu", None)
