"""`casspec hub`: calibrations queued over HTTP, run by workers, and the profiles they make. Extra `hub`.

`app.py` is the application; `api/` is what it answers, `access/` says to whom, `page/` is for people,
`settings.py` holds what the command line says, `run.py` listens. `working/` takes jobs from the store (`storage/jobs/`) and runs them,
`fleet/` places them on machines of a Ray cluster; `allowed.py` says which models they may be of, `suites.py` keeps the prompts they were
given. `client.py` asks a hub, over `transport.py`; `fetched.py` keeps the profiles it has. `reports/` hears of servers what they see of
them, and has calibrated again what drifts.

Read `app.py`, then `working/worker.py` and `working/calibration.py`. To add an endpoint, write it in a module of `api/`. To add a setting
of jobs, add it to `storage/jobs/documents.py` and to `working/calibration.py`.
"""
