"""Who runs what is queued: `worker.py` takes jobs of one device from the store, `calibration.py` is what a job runs, `local_worker.py`
keeps a worker beside the hub."""
