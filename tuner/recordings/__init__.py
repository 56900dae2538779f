"""What the target itself says on prompts, recorded once; every offline question is asked of it.

`recording.py` is what one holds, `side_by_side.py` makes several at a time, `conversations.py` turn by turn, `stage.py` is the stage
of a calibration.
`teacher_forcing.py` runs the target over a known text. `offline_acceptance.py` scores a plan on recordings, `plan_traces.py` keeps
what plans say on them as `traced_plan.py`.

Read `recording.py`, then `offline_acceptance.py`. To add a figure that is kept at every position, edit `recording.py`; to add a
score of plans, `offline_acceptance.py`.
"""
