"""What a request passes before the hub answers it.

`install.py` puts it around the application. `guard.py` is the door: it asks `origin.py` where a request comes from, `askers.py` who asks,
`rate.py` whether that is too often, `roles.py` what that takes, and `sessions.py` about requests of a browser, which `session_routes.py`
begin. `plain_bodies.py` takes no packed bodies; `answer_headers.py` says what a browser may do with an answer.

Read `guard.py` and `roles.py`. To add a route that needs `admin`, or none at all, add a line to the table of `roles.py`.
"""
