"""Decoding without the model: policies run for real, recordings stand in for the target.

`simulate.py` decodes, with `recorded_sequence.py` as the text and its verification. `policies.py` says which methods can be replayed.
`overhead.py` is what a step costs beside forwards, fitted to the short decodes of `step_probe.py`. `bounds.py` says how fast any
policy could be. `texts.py` finds what to replay on, `run.py` replays all methods of a profile, `reality.py` holds a replay against a
benchmark.

Read `simulate.py`, then `recorded_sequence.py`. To add a method that can be replayed, edit `policies.py`; to add a cost, `overhead.py`.
"""
