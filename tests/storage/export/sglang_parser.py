"""Asks SGLang what it makes of options, without starting it. Run by the interpreter of its environment.

    python sglang_parser.py MODEL OPTION...

The last line of stdout is a JSON object of the fields whose names begin with `speculative`.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import argparse

    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    given = parser.parse_args(["--device", "cpu", "--model-path", *sys.argv[1:]])
    told = ServerArgs.from_cli_args(given)  # a struct without __dict__
    print(json.dumps({name: getattr(told, name) for name in vars(given) if name.startswith("speculative")}))


if __name__ == "__main__":
    main()
