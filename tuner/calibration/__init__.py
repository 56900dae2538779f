"""A calibration from end to end: profile, record, search, choose the cascade, publish.

`calibrate.py` is the stages in order, over the context of `tuner/context.py`. `attempt.py` says which calibration of the store is
meant: a finished one, the one under way, or a new one. Two stages stand here, `profile.py` the first and `publish.py` the last; the
others are `tuner/recordings/stage.py`, `tuner/search/stage.py` and `tuner/cascade/stage.py`. `closing_bench.py` is the short
benchmark at the end, `method_tuning.py` a calibration that takes measurements over and tunes methods by real decodes. `forecast.py`
says what a calibration will take.

Read `calibrate.py`, then `attempt.py`. To add a stage, write it in the folder it belongs to, call it in `calibrate.py`, and give it
settings in `tuner/settings.py`.
"""
