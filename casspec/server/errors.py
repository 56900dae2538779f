"""What goes wrong, as OpenAI's clients expect to be told: an object with message, type, param and code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from casspec.storage.errors import CasspecError, ContextOverflow

INVALID, NOT_FOUND = "invalid_request_error", "not_found_error"
TYPES = {401: "authentication_error", 403: "permission_error", 404: NOT_FOUND, 429: "rate_limit_error"}
"""Of errors that do not lie in what was asked, by status; from 500 on it is server_error."""


class ApiError(Exception):
    """Answered with `status` and OpenAI's error object.

    Args:
        param: the field at fault. code: for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else INVALID)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refused(param: str, why: str, code: str = "unsupported_parameter") -> ApiError:
    """A field that cannot be honoured."""
    return ApiError(400, f"{param}: {why}", param, code)


def told(error: Exception, fields: Sequence[str] = ()) -> ApiError:
    """An error as a client is told of it. What was wrong with a request is told; what is our own fault is not.

    Args:
        fields: of the request: the first that the message names is at fault.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, CasspecError):
        message = " ".join(str(error).split())
        words = message.replace("'", " ").replace(",", " ").split()
        param = next((word for word in words if word in fields), None)
        code = "context_length_exceeded" if isinstance(error, ContextOverflow) else "invalid_value"
        return ApiError(400, message, param, code)
    return ApiError(500, "the server failed at this request; its log says why", code="internal_error")


def validation_error(error: RequestValidationError) -> ApiError:
    """Of a body that is no such request: the first field at fault."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is no JSON", code="invalid_json")
    if first["type"] == "extra_forbidden":
        return refused(".".join(place), "not supported here; leave it out", "unknown_parameter")
    named = [part for part in place if _is_field(part)]
    param = ".".join(named) or None
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return ApiError(400, f"{param or 'body'}: {first['msg']}", param, code)


def _is_field(part: str) -> bool:
    """Whether a part of a place is of the request, and no name of an alternative that its value was held against."""
    if part.isdigit():
        return True
    return part.isidentifier() and part not in ("str", "int", "float", "bool") and not part[0].isupper()


def error_response(error: ApiError) -> Response:
    return Response(json.dumps(error.body), error.status, error.headers, "application/json")


def install(app: FastAPI) -> None:
    """Makes an application answer all its errors so."""

    async def api(request: Request, error: Exception) -> Response:
        return error_response(told(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return error_response(validation_error(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        message = {404: f"there is no {path} here", 405: f"{path} does not take {request.method}"}
        said = message.get(error.status_code, str(error.detail))
        return error_response(ApiError(error.status_code, said, headers=error.headers))

    app.add_exception_handler(ApiError, api)
    app.add_exception_handler(CasspecError, api)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, api)
