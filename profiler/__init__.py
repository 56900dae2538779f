"""Floor 3: what forwards take on this device, measured and fitted.

`profile.py` is all of it in order: `design.py` which points, `probes.py` their calls, `timing.py` one call, `measure.py` rounds of
them, `slowdown.py` the machine meanwhile, `refinement.py` which points more. `precisions.py` says which precisions to offer,
`device.py` what the device reaches at best. `fit/` makes the latency model; `report.py` and `figures.py` say how good it is.
`stored.py` is the same with every point in the store: the first stage of a calibration. `progress.py` is how any work tells how far
it is, here and on the floor above.

Read `profile.py`, then `measure.py`. To add a kind of point, edit `design.py` and `probes.py`; to add a way to predict,
`fit/candidates.py`.
"""
