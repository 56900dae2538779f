"""Rules of gpt-oss's channels: what is thought and said, and calls. See `harmony.py` for what they look like."""

from __future__ import annotations

from casspec.server.tool_calls.harmony import MARKERS
from casspec.server.tool_calls.lark import LarkRules, any_of, in_turn
from casspec.server.tool_calls.stream import Tools

_END, _NEXT = "<|end|>", "<|start|>assistant"


def thought(rules: LarkRules) -> str:
    """What is thought, to the beginning of what follows."""
    return in_turn(rules.written("<|channel|>analysis<|message|>"), _ended(rules))


def said(rules: LarkRules, is_last: bool) -> str:
    """A message that is no call: the last of a reply, or one to the beginning of what follows."""
    channel = any_of(rules.written(f"<|channel|>{name}<|message|>") for name in ("analysis", "commentary", "final"))
    return in_turn(channel, f"{rules.text(MARKERS)}?" if is_last else _ended(rules))


def channel_call(rules: LarkRules, tools: Tools, is_free: bool = False) -> str:
    """A call of one of the tools, to its end.

    Args:
        is_free: whether the recipient may stand before the channel, as in the model's template, and not only behind it.
    """
    calls = []
    for name, schema in tools.items():
        heads = [f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"]
        if is_free:
            heads.append(f" to=functions.{name}<|channel|>commentary json<|message|>")
            heads.append(f" to=functions.{name}<|channel|>commentary <|constrain|>json<|message|>")
        calls.append(in_turn(any_of(map(rules.written, heads)), rules.json(schema), rules.written("<|call|>")))
    return any_of(calls)


def _ended(rules: LarkRules) -> str:
    return in_turn(rules.text_until(_END, MARKERS), rules.written(_NEXT))
