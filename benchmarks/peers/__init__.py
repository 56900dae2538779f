"""casspec beside every other engine that can be installed on this machine: `python -m benchmarks.peers`.

Each row of the table (engine, precision, method) is a process in a virtual environment of its own that loads once and then
answers requests, one at a time. Read in this order:

* `engines.py`: who takes part: what is installed, which worker runs it, which rows it offers.
* `environments.py`: virtual environments, made once and kept; `files.py`: the model's files in the precisions that engines read.
* `workers/`: one script an engine, standard library and the engine only; `serve.py` there is the loop they share.
* `worker.py`: the other end of such a process; `prompts.py`: what is asked.
* `stage.py`: every row made ready, or named as missing.
* `race.py`: rounds in shuffled order; `figures.py`: speeds, ratios, spread; `report.py`: the table, the document, the JSON.
* `__main__.py`: the command.

To add a peer, add an `Engine` in `engines.py` and a script in `workers/` that hands `load` to `serve`.
"""
