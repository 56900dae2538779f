"""Tool calls: from what a model writes to OpenAI's `tool_calls`, as it writes them.

How a model writes calls is read off its chat template (`formats.py`), never off its name. `deltas.py` is what comes out, `stream.py` the
reader of text in pieces. `json_formats.py` has formats that hold JSON (`json_text.py` finds where it begins and ends), `pair_formats.py`
those of keys and values in tags, `tagged_formats.py` that of Python, `harmony.py` that of gpt-oss.

`choice.py` checks `tools` and `tool_choice`. `forced_calls.py` makes the grammar of calls that have to come, `strict_calls.py` that of a
reply that is free until it calls; both of rules that `lark.py` writes, with `tag_rules.py` for tags and Python and `channel_rules.py` for
gpt-oss.

Read `stream.py`, then `json_formats.py`. To add a format, write it as one of these and name it in `formats.py`.
"""
