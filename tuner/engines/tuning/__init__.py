"""Searches for how an engine speculates best, with few restarts of it.

`tune.py` runs the whole: plain texts and latencies by the engine itself, latencies of steps inside one running engine, acceptance by
replay, a search of the product, confirmation by restarts. `session.py` is what stages share, `workload.py` says what is asked,
`starting.py` how the engine is started again, `budget.py` what there is time for. `written.py` has the engine write the texts,
`stepping.py` times steps, `latency.py` does so by draft length, `predicting/` joins that with replayed lookup and searches settings,
`finalists.py` chooses what is confirmed, `confirm.py` confirms it, `outcome.py` is what came of it.

Read `tune.py` first. To add a stage, write a module that saves what it measures under a key of its own as it is measured, and call it
in its place in `tune.py`.
"""
