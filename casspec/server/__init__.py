"""`casspec serve`: an OpenAI-compatible server on the batch engine. Extra `server`.

`app.py` is the application and its routes; `api/` has an endpoint a file, `gate/` what a request passes before, `tool_calls/` reads calls
off what a model writes, `watching/` has what watches the profile and records requests, `hub_link/` reports to the profile's hub,
`page/` is the page at `/`.
`service.py` is what all answers share. `step_thread.py` is the one thread that computes: it owns `engines.py`, the batch engines, and tells
`replies.py`, a request on the event loop, what came of its texts. `tokens.py` makes tokens of text beside it. `errors.py` writes OpenAI's
error objects, `metrics.py` counts for Prometheus, `figures.py` tells the page. `reload.py` takes
another profile without a restart, `run.py` listens, and drains at the end. `settings.py` holds what the command line says.

Read `app.py`, `api/answering.py`, then `step_thread.py`. To add an endpoint, write a module in `api/` and a route in `app.py`.
"""
