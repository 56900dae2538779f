"""`casspec serve` under load, with speculation and without, beside vLLM: `python -m benchmarks.serving`.

Read in this order:

* `servers.py`: who takes part, and a server from its start to its end.
* `asked.py`: the requests: conversations of a suite, each its own.
* `client.py`: one request and its stream; several clients that ask one after another.
* `field.py`: all servers loaded and warmed up; rounds in shuffled order.
* `figures.py`: throughput by round, latencies of all requests; `report.py`: tables, document, JSON.
* `guidellm.py`: the same servers under a load generator that is not ours, to hold the figures against.

To add a server, add a `Contender` in `servers.py`.
"""
