"""`casspec hub`: calibrations queued over HTTP, run by workers, and the profiles they make. Extra `hub`.

`worker.py` takes jobs from the store (`storage/jobs/`) and runs them; `calibration.py` is what a job runs, `allowed.py` which models it may
be of, `suites.py` the prompts it was given.

Read `worker.py`, then `calibration.py`. To add something a job can ask for, add it to `JobRequest` and to `calibration.py`.
"""
