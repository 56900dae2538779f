"""The `casspec` command: one file a command, imported when the command runs.

`main.py` is the group, and the one place where exceptions become exit codes. `options.py` has the options commands share and
`console.py` what they print to. Calibrating: `calibrate.py`, `profile.py`, `tune.py`, `join.py` (`tune --join`),
`reference.py`, `testbed.py`. Decoding: `generate.py`, `chat.py`, `bench.py`, `replay.py`; `tune.py` and `replay.py` load what
was calibrated by `calibrated.py`, and `generate.py` and `chat.py` share `decoder.py` (model, profile, method),
`request_options.py`, `grammar_options.py`, `interrupt.py` (Ctrl-C) and `text_statistics.py`; `quota.py` is how many cores a
container leaves; `batch_texts.py` is `generate --batch`, `batch_race.py` is `bench --batch`. What can be decoded: `models.py`.
Serving: `serve.py`; for a team `hub.py`, `hub_token.py`, `worker.py` and `job.py`; `serve.py` and `hub.py` share
`listening_options.py`. Other engines: `engine.py` and `engine_tune.py`, which share `engine_options.py`. What is stored:
`profiles.py`, `report.py`, `export.py`, `import_.py`, `db.py`, `ui.py`. Tables stand apart: `calibration_report.py`,
`engine_tables.py`, `latency_tables.py`, `profile_tables.py`, `replay_tables.py`.

Read `main.py`, then `generate.py`. To add a command, write a module and add it to `COMMANDS` in `main.py`; import what is heavy
inside its function.
"""
