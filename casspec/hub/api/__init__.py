"""What the hub answers under /v1: `job_routes.py` has jobs, `profile_routes.py` profiles, `overview_routes.py` both at a glance.

`comparison.py` holds two profiles against each other, `reports.py` draws the page of one, `answers.py` writes documents.

Read `profile_routes.py`. To add an endpoint, write it in the module of its subject. To compare one more field, edit `comparison.py`.
"""
