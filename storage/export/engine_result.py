"""What an engine was measured at, as a file it reads."""

from __future__ import annotations

from casspec.storage.engines.documents import EngineResult
from casspec.storage.errors import UnsupportedOption
from casspec.storage.export.engine_file import USES, file_text
from casspec.storage.export.exported import Exported


def export(result: EngineResult) -> Exported:
    """The measured configuration, whole. Raises UnsupportedOption where no speculation was as fast as none."""
    subject = result.subject
    where = f"{subject.engine} {subject.engine_version} on {subject.device.name} (result {result.result_id})"
    if result.configuration is None:
        raise UnsupportedOption(
            f"measured with {where}: no speculation is faster than none at {_places(result)} requests at a time, so there is "
            "nothing to set up: serve without it"
        )
    gains = ", ".join(
        f"{each.gain:.2f}x ({each.low:.2f} to {each.high:.2f}) at {each.concurrency}" for each in result.configured
    )
    lines = [
        f"measured with {where}: {USES.get(subject.engine, 'its configuration')}. Gain by requests at a time: {gains}."
    ]
    text = file_text(subject.engine, result.configuration)
    return Exported(text, "full", "\n".join([*lines, *result.refuses]))


def _places(result: EngineResult) -> str:
    return ", ".join(str(each.concurrency) for each in result.choices)
