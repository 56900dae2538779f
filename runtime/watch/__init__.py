"""Whether a profile still fits what is served with it. Nothing here knows of HTTP.

`detector.py` is the test: it hears one bounded figure after the other and says when their mean has passed a bound, with a proven limit
on false alarms; `range_watch.py` has one at each end of a range. `figures.py` has what a profile promises of its drafters, and how far
that is known. `texts.py` watches their acceptance, text by text, `forwards.py` the latency of plans, minute by minute; `drift.py` is
what either finds. `profile_watch.py` joins them and sums up. `traffic.py` makes a suite of requests, written by `traffic_file.py`.

Read `detector.py`, then `profile_watch.py`. To add a figure, give it a range as `texts.py` does and ask for it in `profile_watch.py`.
"""
