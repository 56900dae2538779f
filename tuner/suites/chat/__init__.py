"""The suite `chat`: requests to an assistant, in six tasks.

`questions.jsonl` has one request a line, with Spec-Bench's fields and one more: `passage` names the topic of the interpreter's own
documentation that stands for `{passage}` in the first turn. `suite.py` reads it, `passages.py` finds those texts. To add a
request, add a line; a topic should be in the documentation of every Python from 3.11 on.
"""
