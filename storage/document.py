"""What all documents have in common: immutable, one canonical JSON, one content hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_jsonable_python


class Document(BaseModel):
    """Base of all documents: immutable, refuses unknown fields, hashed by content."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    not_hashed: ClassVar[frozenset[str]] = frozenset()
    """Fields left out of `content_hash`: they describe the circumstances, not the content."""

    def canonical_json(self) -> str:
        """The document as JSON with sorted keys and no spaces: equal documents give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def content_hash(self) -> str:
        """SHA-256 (64 hexadecimal digits) of the content; at every depth without circumstances (`not_hashed`).

        Fields at their default are left out too: a later release may add a field without renaming what is stored.
        """
        text = json.dumps(_content(self), sort_keys=True, separators=(",", ":"), default=to_jsonable_python)
        return hashlib.sha256(text.encode()).hexdigest()


def _content(value: Any) -> Any:
    """The hashed part of a document or of a value inside one."""
    if isinstance(value, Document):
        told = {
            name: getattr(value, name)
            for name, field in type(value).model_fields.items()
            if name not in value.not_hashed and getattr(value, name) != field.get_default(call_default_factory=True)
        }
        return {name: _content(entry) for name, entry in told.items()}
    if isinstance(value, dict):
        return {key: _content(entry) for key, entry in value.items()}
    return [_content(entry) for entry in value] if isinstance(value, (list, tuple)) else value
