"""What all documents have in common: immutable, one canonical JSON, one content hash, and how versions meet.

A document that travels says its schema as "major.minor". A minor revision only adds fields, each with an empty default (None,
0, "", [] ...), as have those of new documents inside it: a reader keeps the fields it does not know and ignores them. Everything
else is a major revision: it is refused.
Fields that are unknown although the document is no newer than the reader are mistakes, and refused too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError, to_jsonable_python

from casspec.storage.errors import MalformedFile

SCHEMA_VERSION = "1.4"
"""Of every versioned document written here; the minor is raised when a field comes, the major when one goes or changes meaning."""

_keeps_unknown: ContextVar[bool] = ContextVar("keeps_unknown", default=False)
"""Whether what is being read comes from a newer minor revision."""


class Document(BaseModel):
    """Base of all documents: immutable, refuses unknown fields unless a newer release wrote them, hashed by content."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    not_hashed: ClassVar[frozenset[str]] = frozenset()
    """Fields left out of `content_hash`: they describe the circumstances, not the content."""

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_unknown(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        document = read(data)
        if document.__pydantic_extra__ and not isinstance(data, Document) and not _keeps_unknown.get():
            unknown = min(document.__pydantic_extra__)
            raise PydanticCustomError("unknown_field", "unknown field {name}", {"name": unknown})
        return document

    def canonical_json(self) -> str:
        """The document as JSON with sorted keys and no spaces: equal documents give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def content_hash(self) -> str:
        """SHA-256 (64 hexadecimal digits) of the content; at every depth without circumstances (`not_hashed`).

        Fields at their default are left out too: a later release may add a field without renaming what is stored. Of a field
        that a newer release added the default is not known here, but that it is empty.
        """
        text = json.dumps(_content(self), sort_keys=True, separators=(",", ":"), default=to_jsonable_python)
        return hashlib.sha256(text.encode()).hexdigest()

    def identity(self) -> str:
        """`content_hash` of the fields that are known here: what tells whether two are the same as far as this release can say."""
        return (
            type(self).model_construct(**{name: getattr(self, name) for name in type(self).model_fields}).content_hash()
        )


class SchemaVersion(NamedTuple):
    major: int
    minor: int

    @classmethod
    def parse(cls, told: Any) -> SchemaVersion:
        """From "major.minor", or an integer N that stands for N.0. Raises ValueError for anything else."""
        if not isinstance(told, (int, str)) or not re.fullmatch(r"\d+(\.\d+)?", str(told), re.ASCII):
            raise ValueError(f"schema_version {told!r} is none, expected one like {SCHEMA_VERSION!r}")
        major, _, minor = str(told).partition(".")
        return cls(int(major), int(minor or 0))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class VersionedDocument(Document):
    """A document that other releases read: it says the schema it was written in.

    Read from an older minor revision it becomes one of this release. From a newer one it keeps its version and the fields that are
    unknown here, at any depth. The version is no part of the content.

    Raises MalformedFile, in one line, for a newer major revision.
    """

    not_hashed = frozenset({"schema_version"})

    schema_version: str = SCHEMA_VERSION

    @model_validator(mode="wrap")
    @classmethod
    def _read_as_written(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return read(data)
        ours, theirs = (
            SchemaVersion.parse(SCHEMA_VERSION),
            SchemaVersion.parse(data.get("schema_version", SCHEMA_VERSION)),
        )
        if theirs.major > ours.major:
            raise MalformedFile(
                f"{cls.__name__} schema {theirs} was found, this casspec understands {ours.major}.x (written here: {ours}): "
                "upgrade casspec"
            )
        if theirs.major < ours.major:
            raise ValueError(f"schema_version {theirs} is not read any more, expected {ours.major}.x")
        with _unknown_fields(kept=theirs > ours):
            return read(data | {"schema_version": str(max(theirs, ours))})


@contextmanager
def _unknown_fields(kept: bool) -> Iterator[None]:
    before = _keeps_unknown.set(kept)
    try:
        yield
    finally:
        _keeps_unknown.reset(before)


def _without_empty(value: Any) -> Any:
    """An unknown field without what is at an empty default, at any depth: the release that wrote it leaves that out of the hash."""
    if isinstance(value, dict):
        return {name: _without_empty(entry) for name, entry in value.items() if entry}
    return [_without_empty(entry) for entry in value] if isinstance(value, list) else value


def _content(value: Any) -> Any:
    """The hashed part of a document or of a value inside one."""
    if isinstance(value, Document):
        told = {
            name: _content(getattr(value, name)) for name in type(value).model_fields if name not in value.not_hashed
        }
        defaults = {
            name: _content(field.get_default(call_default_factory=True))
            for name, field in type(value).model_fields.items()
        }
        unknown = _without_empty(value.__pydantic_extra__ or {})
        return {name: entry for name, entry in told.items() if entry != defaults[name]} | unknown
    if isinstance(value, dict):
        return {key: _content(entry) for key, entry in value.items()}
    return [_content(entry) for entry in value] if isinstance(value, (list, tuple)) else value
