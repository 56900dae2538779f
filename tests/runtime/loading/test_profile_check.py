"""Profiles of other models and devices: refused where texts could suffer or nothing is known, warned of where speed may."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profile_check import check_profile, forwards_difference
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ProfileMismatch
from tests.runtime.model.graphs.recording import RecordingGraphs
from tests.runtime.tiny import library_model, repetitive_prompt, tiny_profile, tiny_target


@pytest.fixture(scope="module")
def target():
    return tiny_target(seed=7)


def test_a_profile_of_other_weights_or_another_dtype_is_refused_in_one_line(target) -> None:
    profile = tiny_profile(target).document
    check_profile(profile, target)
    for other, reason in (
        (tiny_profile(tiny_target(seed=8)).document, "another weights"),
        (profile.model_copy(update={"dtype": "bfloat16"}), "in bfloat16"),
    ):
        with pytest.raises(ProfileMismatch, match=reason) as refusal:
            check_profile(other, target)
        assert "casspec calibrate" in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_another_device_with_the_same_kernels_is_warned_of_once_and_decodes(target, caplog) -> None:
    loaded = tiny_profile(target)
    similar = loaded.document.device.model_copy(update={"name": "another processor"})
    profile = loaded.document.model_copy(update={"device": similar})
    prompt = repetitive_prompt(40, seed=2)
    expected = Decoder(target, loaded.document).generate(prompt, 24).token_ids
    assert caplog.messages == []
    for _ in range(2):
        assert Decoder(target, profile).generate(prompt, 24).token_ids == expected
    (line,) = caplog.messages
    assert line.startswith(f"profile {profile.profile_id} was calibrated on another processor, this is ")
    assert "\n" not in line


def test_a_device_with_other_kernels_is_refused_and_told_to_calibrate(target, caplog) -> None:
    profile = tiny_profile(target).document
    other = profile.device.model_copy(update={"capability": "sve"})
    with pytest.raises(ProfileMismatch, match=r"without sve.*; run casspec calibrate on this device"):
        Decoder(target, profile.model_copy(update={"device": other}))
    assert caplog.messages == []


def test_forwards_that_ran_with_graphs_are_told_of_once_where_there_are_none(target, caplog) -> None:
    profile = tiny_profile(target, forwards="graphs").document
    for _ in range(2):
        check_profile(profile, target)
    (line,) = caplog.messages
    assert line.startswith(
        f"profile {profile.profile_id} was calibrated with CUDA graphs, and forwards run without them here ("
    )
    assert "no CUDA device" in line
    assert "\n" not in line


def test_forwards_run_with_graphs_on_a_profile_without_them_are_told_of(caplog) -> None:
    target = TargetModel(library_model(seed=7), name="tiny-llama")
    profile = tiny_profile(target).document
    assert forwards_difference(profile, target) is None
    target.lean.capture_with(RecordingGraphs)
    told = forwards_difference(profile, target)
    assert told is not None
    assert told.startswith("without CUDA graphs")
    with target.captured(False):
        assert forwards_difference(profile, target) is None


def test_forwards_that_are_not_compiled_are_told_of(caplog) -> None:
    usual, plain = (TargetModel(library_model(seed=7), name="tiny-llama", compiles=each) for each in (True, False))
    assert plain.forwards == "operators"
    told = forwards_difference(tiny_profile(usual).document, plain)
    assert told == "with compiled forwards, and forwards are not to be compiled here"
    told = forwards_difference(tiny_profile(plain, forwards="operators").document, usual)
    assert told == "without compiled forwards, and forwards are compiled here"
    assert forwards_difference(tiny_profile(plain, forwards="operators").document, plain) is None
