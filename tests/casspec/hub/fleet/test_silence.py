from __future__ import annotations

import subprocess
import sys

LOUD = """
import os, sys
from casspec.hub.fleet.silence import only_own_lines
print("before")
with only_own_lines() as say:
    print("dropped"); print("dropped", file=sys.stderr); os.write(1, b"dropped"); os.write(2, b"dropped")
    say("a line")
print("after")
print("after too", file=sys.stderr)
"""


def test_lines_of_its_own_are_all_that_is_heard_inside_the_block() -> None:
    done = subprocess.run([sys.executable, "-c", LOUD], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["before", "after"]
    assert done.stderr.splitlines() == ["a line", "after too"]
