"""Many texts at a time, and one forward for all of them.

`engine.py` takes requests, lets them in and out at every step, and keeps within its memory. `hub.py` runs each text on a stack of
its own until it needs a forward, and then runs the forwards of all as one. `costs.py` is what a forward costs a text that shares
it, `draft_switch.py` whether a batch drafts at all, `stream_gate.py` whether a text alone does. `prefix_cache.py` keeps the rows of
finished texts for those that begin alike.

Read `engine.py`, then `hub.py`. To add a method nothing is needed here: whatever asks its sequence for forwards decodes in batches.
"""
