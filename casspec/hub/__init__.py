"""`casspec hub`: calibrations queued over HTTP, run by workers, and the profiles they make. Extra `hub`.

`app.py` is the application; `api/` is what it answers, `access/` says to whom, `page/` is for people,
`settings.py` holds what the command line says, `run.py` listens. `worker.py` takes jobs from the store (`storage/jobs/`) and runs them,
`local_worker.py` keeps one beside the hub; `calibration.py` is what a job runs, `allowed.py` which models it may be of, `suites.py` the
prompts it was given. `client.py` asks a hub, over `transport.py`; `fetched.py` keeps the profiles it has.

Read `app.py`, `worker.py`, then `calibration.py`. To add an endpoint, write it in a module of `api/`. To add a setting of jobs, add it to
`storage/jobs/documents.py` and to `calibration.py`.
"""
