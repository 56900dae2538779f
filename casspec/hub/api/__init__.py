"""What the hub answers under /v1: `job_routes.py` has jobs, `profile_routes.py` profiles."""
