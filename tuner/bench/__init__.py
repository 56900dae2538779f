"""Races of methods side by side in one process, and what becomes of them.

`requests.py` is what is decoded, `entries.py` who takes part, `peers.py` transformers' own decoding, `batches.py` a race with many texts at
a time. `run.py` is the race, `rows.py`
its arithmetic, `report.py` the outcome as table, Markdown, CSV or JSON, `figures.py` its charts. `predicted_vs_measured.py` holds a
profile's promise against it. `lossless/` compares texts instead of times.

Read `run.py`, then `rows.py`. To add a column, edit `rows.py` and `report.py`; to add an outside peer, `peers.py`.
"""
