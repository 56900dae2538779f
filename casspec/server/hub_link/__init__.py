"""What a server has to do with the hub that its profile comes from: it reports, and takes newer profiles.

`link.py` runs both beside the server, each by `repeating.py` on a thread of its own; `reporter.py` tells what was seen, with requests
of `traffic_sample.py` where the operator shares them; `poller.py` looks for another profile and hands it to the reload.
"""
