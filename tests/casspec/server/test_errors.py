"""What goes wrong is told in OpenAI's object: ours in one line that names the field, a bug without its details."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from casspec.server.errors import ApiError, error_response, refused, told, validation_error
from casspec.storage.errors import ContextOverflow, UnsupportedOption


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_follows_the_status(status: int, kind: str) -> None:
    answer = error_response(ApiError(status, "why", "field", "code", {"Retry-After": "3"}))
    assert answer.status_code == status
    assert answer.headers["retry-after"] == "3"
    assert json.loads(bytes(answer.body)) == {
        "error": {"message": "why", "type": kind, "param": "field", "code": "code"}
    }


def test_an_error_of_ours_names_the_field_it_is_about() -> None:
    found = told(UnsupportedOption("top_p must lie in\n(0, 1], not 3"), ["temperature", "top_p"])
    assert (found.status, found.param, found.message) == (400, "top_p", "top_p must lie in (0, 1], not 3")
    assert told(ContextOverflow("too long")).code == "context_length_exceeded"
    assert told(refused("stop", "no")).message == "stop: no"


def test_a_bug_is_told_without_its_details() -> None:
    found = told(ValueError("/home/secret"))
    assert found.status == 500
    assert "secret" not in found.message


@pytest.mark.parametrize(
    ("error", "param", "code"),
    [
        ({"type": "extra_forbidden", "loc": ("body", "beams"), "msg": ""}, "beams", "unknown_parameter"),
        ({"type": "missing", "loc": ("body", "model"), "msg": "required"}, "model", "missing_required_parameter"),
        ({"type": "x", "loc": ("body", "stop", "list[str]", 0), "msg": ""}, "stop.0", "invalid_value"),
        (
            {"type": "x", "loc": ("body", "messages", 2, "content", "str"), "msg": ""},
            "messages.2.content",
            "invalid_value",
        ),
        ({"type": "x", "loc": ("body",), "msg": "no object"}, None, "invalid_value"),
        ({"type": "json_invalid", "loc": ("body", 3), "msg": ""}, None, "invalid_json"),
    ],
)
def test_a_body_is_refused_at_its_first_fault(error: dict[str, Any], param: str | None, code: str) -> None:
    found = validation_error(RequestValidationError([error]))
    assert (found.status, found.param, found.code) == (400, param, code)
