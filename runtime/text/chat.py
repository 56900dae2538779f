"""A conversation as token ids, through the chat template that its model was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casspec.storage.errors import UnsupportedOption

OWN_ARGUMENTS = {"add_generation_prompt", "tokenize", "return_dict", "conversation"}
"""Arguments of `apply_chat_template` that are ours to give."""


def has_chat_template(tokenizer: Any) -> bool:
    """Whether a tokenizer knows how a conversation is written; None, of a model without one, does not."""
    return bool(getattr(tokenizer, "chat_template", None))


def template_of(tokenizer: Any) -> str:
    """The chat template that tools go into; "" without one."""
    templates = getattr(tokenizer, "chat_template", None) or ""
    if isinstance(templates, dict):
        return str(templates.get("tool_use") or templates.get("default") or "")
    return str(templates)


def chat_ids(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any] | None = None
) -> list[int]:
    """Token ids of a conversation, up to where the assistant's next message begins.

    Args:
        messages: each with a role and a content. arguments: further ones of the template, by name.

    Raises UnsupportedOption where there is no template, or it refuses such a conversation.
    """
    from jinja2 import TemplateError

    if not has_chat_template(tokenizer):
        raise UnsupportedOption("the model brings no chat template; leave out --chat and give it a text to go on from")
    taken = OWN_ARGUMENTS & (arguments or {}).keys()
    if taken:
        raise UnsupportedOption(f"template argument {', '.join(sorted(taken))} is set already; leave it out")
    try:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False, **(arguments or {})
        )
    except (TemplateError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise UnsupportedOption(f"the model's chat template refuses this conversation: {why}") from error
    return list(ids)
