"""What a decoding step is made of; `runtime/decode.py` is the loop that joins it.

`tree.py` is the candidate tree. `sequence.py` is one text being decoded: its tokens, cache rows and noise. `noise.py` makes noise
fixed by position. `verify.py` is what the target says of a tree, `walk.py` a request's way along it, and where the text ends.
`constrained.py` keeps a tree within the text's grammar.
`generation.py` is what a request comes to. `successors.py` keeps the target's best tokens for drafters, `acceptance.py` estimates how
likely a candidate is right. On the host `host_search.py` finds the best tokens of a forward by the compiled passes of `vocabulary.py`;
`plain_vocabulary.py` is these passes without a compiler, `kept_tokens.py` what top-p and its like leave of a row. On a device
`device_search.py` finds the same by torch's operators, and what it found is read once a forward.

Read `tree.py`, `walk.py`, then `sequence.py`. To add a way for a text to end, edit `walk.py`; to add what acceptance depends on,
`acceptance.py`.
"""
