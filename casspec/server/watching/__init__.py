"""What a server sees of itself: `watches.py` has what watches the profile, `watch_metrics.py` tells of it, `summary_store.py` keeps what
was seen, and `recording.py` has the requests that are recorded.

What decides is in `runtime/watch/`.
"""
