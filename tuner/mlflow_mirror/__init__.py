"""MLflow told of calibrations, as a mirror of the store.

In order of reading: `runs.py` what MLflow is told, part by part, and `engine_runs.py` of other engines; `mirror.py` writes it;
`registry.py` profiles as model versions;
`client.py` MLflow's client, and its errors in one line; `owed.py` what it has not been told yet; `telling.py` how stages and
commands tell it, without ever failing for it.

To add a figure or a table, edit `runs.py`.
"""
