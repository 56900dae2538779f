"""Other engines that serve a model, as things to be measured and tuned.

`protocol.py` says what is to be known of an engine; `known/` has the engines that are. `process.py` starts one in a group of its own,
behind `guard.py`, which leaves nothing behind whatever happens. `importable.py` makes casspec importable inside an engine.
`endpoint.py` asks an OpenAI endpoint, `stream.py` says what came and when, `metrics.py` reads its counters. `asked.py` makes requests
of prompts, `traffic.py` of recorded ones, `figures.py` figures of answers. `identity.py` says which model is served. `bench.py`
compares endpoints. `tuning/` is the search.

Read `protocol.py`, then `known/vllm.py`. To add an engine, write a module in `known/`.
"""
