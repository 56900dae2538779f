"""The design that fits are tested on, what was fitted on it, and a whole profile of a tiny model."""

from __future__ import annotations

import pytest

from casspec.profiler import precisions
from casspec.profiler.design import Design, design
from casspec.profiler.fit.validation import latency_model
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceFingerprint, LatencyModel, Precision
from tests.profiler.fakes import SHAPE, WAVERING_NOISE, model_of, samples_of, tiny_target, uneven_ms
from tests.profiler.whole_profile import CEILINGS, Run, profile_of


@pytest.fixture(scope="session")
def plan() -> Design:
    return design(model_of())


@pytest.fixture(scope="session")
def uneven(plan: Design) -> LatencyModel:
    return latency_model(samples_of(plan.fitted, uneven_ms), SHAPE, test_retest=WAVERING_NOISE)


@pytest.fixture(scope="session")
def target() -> TargetModel:
    return tiny_target()


@pytest.fixture(scope="session")
def device() -> DeviceFingerprint:
    return device_fingerprint("cpu").model_copy(update={"ceilings": CEILINGS})


@pytest.fixture(scope="session")
def run(target: TargetModel, device: DeviceFingerprint) -> Run:
    return profile_of(target, device)


@pytest.fixture
def generous(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 bits pass the screen and any ratio is a gain, 8 bits cannot run: as on no device, but the same on all of them."""

    def reason(target: TargetModel, precision: Precision) -> str | None:
        return "no kernel here" if precision is Precision.INT8_DYNAMIC else None

    monkeypatch.setattr(TargetModel, "refusal", reason)
    for bound in ("HOPELESS_RATIO", "LARGEST_OFFERED_RATIO"):
        monkeypatch.setattr(precisions, bound, 1e9)
