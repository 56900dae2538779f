"""What was measured of an engine, as far as drafting needs it: latencies of steps and acceptance of chains."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field, ValidationError

from casspec.storage.document import Document, VersionedDocument
from casspec.storage.errors import MalformedFile
from casspec.storage.schema import AcceptancePrior

RESULT_VARIABLE = "CASSPEC_ENGINE_RESULT"
"""Environment variable that names the file."""


class LatencyPoint(Document):
    """A step of `batch` requests that drafts `draft_tokens` for each of them."""

    batch: int = Field(ge=1)
    draft_tokens: int = Field(ge=0)
    milliseconds: float = Field(gt=0, allow_inf_nan=False)


class DraftingResult(VersionedDocument):
    """Measured once per engine, model and device; both parts may be missing."""

    latency: tuple[LatencyPoint, ...] = ()
    acceptance: AcceptancePrior | None = None
    """Cells of `runtime/drafters/text_chains.py`."""


def read_result(path: str | None) -> DraftingResult:
    """The document at `path`; an empty one where none is named. Raises MalformedFile in one line."""
    if not path:
        return DraftingResult()
    try:
        return DraftingResult.model_validate(json.loads(Path(path).read_text("utf-8")))
    except OSError as error:
        raise MalformedFile(f"{RESULT_VARIABLE} names {path}, which cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedFile(f"{RESULT_VARIABLE} names {path}, which is no result: {place} {first['msg']}") from None
    except ValueError as error:
        raise MalformedFile(f"{RESULT_VARIABLE} names {path}, which is no JSON: {error}") from None
