"""`casspec hub`: calibrations queued over HTTP, run by workers, and the profiles they make. Extra `hub`.

`app.py` is the application; `job_routes.py` and `profile_routes.py` are what it answers, `origin.py` keeps other pages of a browser out,
`settings.py` holds what the command line says, `run.py` listens. `worker.py` takes jobs from the store (`storage/jobs/`) and runs them,
`local_worker.py` keeps one beside the hub; `calibration.py` is what a job runs, `allowed.py` which models it may be of, `suites.py` the
prompts it was given. `client.py` asks a hub, over `transport.py`; `fetched.py` keeps the profiles it has. `reports/` hears of servers
what they see of them, and has calibrated again what drifts.

Read `app.py`, `worker.py`, then `calibration.py`. To add an endpoint, write it in a module of routes. To add a setting of jobs, add it to
`storage/jobs/documents.py` and to `calibration.py`.
"""
