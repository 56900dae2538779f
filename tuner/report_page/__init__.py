"""One calibration as one HTML page: nothing is loaded from elsewhere, so it can be mailed, archived or put on a server.

`page.py` puts the sections together with the template `page.html.j2` and the style `page.css`. `outcome.py` is the first half: the
decision, the cascade, predicted and measured speedup. `evidence.py` is the second: search, latency, benchmark, environment.
`parts.py` is what sections are made of, `charts.py` and `svg.py` their figures, `reproduce.py` the commands that lead there again.

Read `page.py`, then `outcome.py`. To add a section, edit `outcome.py` or `evidence.py` and list it in `page.py`; to add a kind of
part, `parts.py` and `page.html.j2`.
"""

from casspec.tuner.report_page.page import render_page

__all__ = ["render_page"]
