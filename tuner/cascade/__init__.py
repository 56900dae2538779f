"""Which self-drafters join the cascade, and what that gains.

`stage.py` is the stage of a calibration. `contenders.py` takes plans from the Pareto front, `replay.py` replays `dytc` with any of
them, `selection.py` decides which join, `descent.py` tunes the parameters. `forecast.py` predicts the gain by mode, task and batch;
`per_task.py` asks which tasks deserve a cascade of their own.

Read `selection.py`, then `stage.py`. To add a parameter that is tuned, edit `tuner/methods/grids.py`; to change who may join,
`contenders.py`; to change what decides, `selection.py`.
"""
