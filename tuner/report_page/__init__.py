"""One calibration as one HTML page: nothing is loaded from elsewhere, so it can be mailed, archived or put on a server."""

from casspec.tuner.report_page.page import render_page

__all__ = ["render_page"]
