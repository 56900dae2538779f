"""`python -m casspec` equals `casspec`."""

from __future__ import annotations

import sys

from casspec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
