"""What servers tell the hub, and what it makes of drift.

`routes.py` takes reports and shows them. `considered.py` says of which profiles enough reports say drift, `steps.py` takes a re-calibration
from one state to the next, `verdict.py` compares the speeds of two profiles; `policy.py` does all of that again and again, and only
where the hub was asked to, by `drift_settings.py`. What it knows lies in the store (`storage/reports/`), so that the next hub goes on
with it.

Read `policy.py`, then `steps.py`. To add a step, add its state to `storage/reports/documents.py` and what it does to `steps.py`.
"""
