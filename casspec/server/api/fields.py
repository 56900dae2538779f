"""Fields that requests share. What is not listed is refused by name, and so is a value of another type than it should be."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Count = Annotated[int, Field(ge=0, le=1 << 31)]
TokenId = Annotated[int, Field(ge=0, le=1 << 31)]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]

MOST_TEXTS = 128
"""Texts of a request, `n` times its prompts."""

MOST_LOGPROBS = 20
"""Likeliest tokens that are told of at a place."""


class Fields(BaseModel):
    """No field but those named, and no value but of their types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BodyFields(Fields):
    """Of a whole body: what it says is Unicode, which half a surrogate pair is not."""

    @model_validator(mode="before")
    @classmethod
    def _is_unicode(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body  # whatever it is, it is refused
        try:
            json.dumps(body, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("holds half a surrogate pair, which is no character") from None
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        return body


class StreamOptions(Fields):
    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: Literal[False] | None = None


class Speculation(Fields):
    """How one request is decoded; its text stays the same."""

    enabled: bool = True
    method: str | None = None


class TextPart(Fields):
    type: Literal["text"]
    text: str


class Prediction(Fields):
    """The text that a client expects."""

    type: Literal["content"]
    content: str | list[TextPart]


class SharedFields(BodyFields):
    """Of every request for text. Those after `user` are our own, by the names that vLLM has for them where it has any."""

    model: str
    temperature: FiniteFloat | None = Field(None, ge=0)
    top_p: FiniteFloat | None = Field(None, gt=0, le=1)
    stream: bool | None = None
    user: str | None = None

    top_k: int | None = Field(None, ge=-1, le=1 << 31)
    min_p: FiniteFloat | None = Field(None, ge=0, le=1)
    typical_p: FiniteFloat | None = Field(None, gt=0, le=1)
    repetition_penalty: FiniteFloat | None = Field(None, gt=0)
    ignore_eos: bool | None = None
    min_tokens: Count | None = None
    stop_token_ids: list[TokenId] | None = None
    speculation: Speculation | None = None


class SampledFields(SharedFields):
    """Of completions, chats included."""

    n: int | None = Field(None, ge=1, le=MOST_TEXTS)
    seed: Seed | None = None
    stop: str | list[str] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    presence_penalty: FiniteFloat | None = None
    frequency_penalty: FiniteFloat | None = None
    logit_bias: dict[str, FiniteFloat] | None = None
    stream_options: StreamOptions | None = None
    prediction: Prediction | None = None
