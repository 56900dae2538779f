from __future__ import annotations

import subprocess
import sys

from casspec.storage.schema import DrafterSpec, Precision, Quantization
from casspec.storage.summaries.documents import ProfileSummary, summary_of
from tests.storage import samples


def test_a_summary_says_what_one_chooses_by() -> None:
    quantized = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=100)
    plans = tuple(DrafterSpec(name=name, kind="self", quantization=quantized) for name in ("one", "two"))
    profile = samples.profile(drafters=plans)
    summary = summary_of(profile, "2026-03-02")
    assert (summary.profile_id, summary.profile_hash) == (profile.profile_id, profile.content_hash())
    assert (summary.model.identity, summary.device.identity) == (profile.model.identity(), profile.device.identity())
    assert (summary.backend, summary.drafters, summary.extra_bytes) == ("lean", ("one", "two"), 100)
    assert ProfileSummary.model_validate_json(summary.model_dump_json()) == summary


def test_fields_of_a_later_release_are_ignored() -> None:
    summary = summary_of(samples.profile(), "2026-03-02")
    assert ProfileSummary.model_validate(summary.model_dump() | {"carbon": 1}) == summary


def test_they_are_read_without_a_database() -> None:
    program = (
        "import sys, casspec.storage.summaries.documents; print('sqlalchemy' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
