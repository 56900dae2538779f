"""Workers on Ray: the queue stays in the store, Ray says on which machine a job runs. Extra `fleet`.

`placer.py` hands every waiting job to a machine that has its kind of device; `placing.py` keeps it going when Ray or the store is away.
`cluster.py` is Ray behind the few calls that the placer needs, `access.py` its token, `silence.py` keeps its messages off the terminal.
`task.py` runs a job on the machine it was placed on. `documents.py` is all that crosses. `joining.py` says how a machine joins.

Read `placer.py`, then `task.py`. To add a setting of workers, add it to `documents.py`, to `task.py` and to `casspec/cli/worker.py`.
"""
