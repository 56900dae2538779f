"""/tokenize and /detokenize: what a text is in tokens, and back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from casspec.server.api.fields import BodyFields, TokenId
from casspec.server.api.messages import Message, for_template
from casspec.server.api.options import check_model
from casspec.server.errors import refused
from casspec.server.service import Service


class TokenizeRequest(BodyFields):
    """Of a text, or of a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool = False


class DetokenizeRequest(BodyFields):
    model: str | None = None
    tokens: Annotated[list[TokenId], Field(max_length=1 << 20)]


def tokenized(service: Service, body: TokenizeRequest) -> dict[str, Any]:
    """Token ids, their number, and the model's context. Raises ApiError for neither or both of text and conversation."""
    if body.model is not None:
        check_model(service, body.model)
    if (body.prompt is None) == (body.messages is None):
        raise refused("prompt", "give either a prompt or messages", "invalid_value")
    if body.messages is not None:
        ids = service.tokens.conversation(for_template(body.messages), body.chat_template_kwargs or {})
    elif body.chat_template_kwargs is not None:
        raise refused("chat_template_kwargs", "a prompt goes through no template; leave it out", "invalid_value")
    else:
        ids = service.tokens.encoded(body.prompt or "", body.add_special_tokens)
    found = {"tokens": ids, "count": len(ids), "max_model_len": service.engines.target.max_context}
    if body.return_token_strs:
        found["token_strs"] = [service.tokens.text_of(token) for token in ids]
    return found


def detokenized(service: Service, body: DetokenizeRequest) -> dict[str, Any]:
    """The text of tokens."""
    if body.model is not None:
        check_model(service, body.model)
    return {"prompt": service.tokens.decoded(body.tokens)}
