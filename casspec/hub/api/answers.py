"""Documents as answers."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response


def document_answer(document: BaseModel, status: int = 200) -> Response:
    """A document as JSON, written once."""
    return Response(document.model_dump_json(), status, media_type="application/json")
