"""Whether a profile still fits what is served with it. Nothing here knows of HTTP.

`detector.py` is the test: it hears one bounded figure after the other and says when their mean has left its bounds, with a proven limit
on false alarms. `figures.py` has what a profile promises of its drafters, and how far that is known. `texts.py` watches their
acceptance, text by text, `forwards.py` the latency of plans, minute by minute; `drift.py` is what either finds. `profile_watch.py` joins
them and sums up. `traffic.py` writes requests to a file that a calibration reads.

Read `detector.py`, then `profile_watch.py`. To watch something else, feed a detector of its own.
"""
