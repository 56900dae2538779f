"""What a decoding step is made of; `runtime/decode.py` is the loop that joins it.

`tree.py` is the candidate tree. `sequence.py` is one text being decoded: its tokens, cache rows and noise. `noise.py` makes noise
fixed by position and `sampling.py` the target's token from logits and noise. `verify.py` walks a tree along the target's tokens,
`successors.py` keeps the target's best tokens for drafters, `acceptance.py` estimates how likely a candidate is right.

Read `tree.py`, `verify.py`, then `sequence.py`. To add a way to sample, edit `sampling.py`; to add what acceptance depends on,
`acceptance.py`.
"""
