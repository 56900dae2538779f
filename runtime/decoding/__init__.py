"""What a decoding step is made of; `runtime/decode.py` is the loop that joins it.

`tree.py` is the candidate tree. `sequence.py` is one text being decoded: its tokens, cache rows and noise. `noise.py` makes noise
fixed by position and `sampling.py` the target's token from logits and noise. `verify.py` walks a tree along the target's tokens,
`successors.py` keeps the target's best tokens for drafters, `acceptance.py` estimates how likely a candidate is right. On the host
`host_search.py` finds the best tokens of a forward by the compiled passes of `vocabulary.py`; `plain_vocabulary.py` is these passes
without a compiler.

Read `tree.py`, `verify.py`, then `sequence.py`. To add a way to sample, edit `sampling.py`; to add what acceptance depends on,
`acceptance.py`.
"""
