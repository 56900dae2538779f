"""Forwards of a device captured as graphs: launched once instead of kernel by kernel.

`runner.py` captures and replays, `store.py` keeps the graphs, few and within bounds. `forwards.py` runs a forward over static memory
and says what tells graphs apart; `threads.py` gives each thread graphs of its own. Inputs come from `runtime/model/staging.py`, those that
were made as tensors from `given.py`. `cache_pool.py` lends rows of one cache to many sequences, so that a forward over several of them
is one graph whichever these are.

Read `forwards.py`, then `store.py`. To add a kind of graph, give it a runner of `runner.py`; it takes any forward whose operators wait
for nothing and write to memory that stays.
"""
