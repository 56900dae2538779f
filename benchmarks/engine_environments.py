"""Makes the environments of engines whose parsers check our exports and that searches are tested with, where they are missing.

    python -m benchmarks.engine_environments
    python -m benchmarks.engine_environments vllm --install

They are those of `benchmarks.peers`. SGLang parses options there, and serves nothing. The reason why one cannot be made goes to stderr;
what needs it is then left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.peers.engines import ENGINES, Engine
from benchmarks.peers.environments import PeerUnavailable, environment, home_of, is_complete
from casspec.storage.folders import user_cache_directory

SGLANG = Engine(
    "sglang",
    "",
    "directory",
    (),
    package="sglang",
    version="0.5.23",
    before=(
        "torch==2.13.0",
        *("aiohttp", "fastapi", "ipython", "msgspec", "numpy", "orjson", "packaging", "pillow", "psutil"),
        *("pybase64", "pydantic", "pyzmq", "requests", "tqdm", "transformers", "triton"),
    ),
    is_bare=True,
)
"""It parses options with these; what computes on a CUDA device is left out."""
WITH_PARSER = {"vllm": ENGINES["vllm"], "sglang": SGLANG}


def interpreter_of(name: str, folder: Path) -> Path | None:
    """Of an environment that was made before; None without one."""
    home = home_of(WITH_PARSER[name], folder)
    return home / "bin" / "python" if is_complete(home) else None


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(WITH_PARSER)))
@click.option("--environments", type=click.Path(file_okay=False, path_type=Path), help="Where engines are installed.")
@click.option("--install", is_flag=True, help="Try installations that failed before once more.")
def main(names: Sequence[str], environments: Path | None, install: bool) -> None:
    """Make the environments of NAMES, all by default, and print their interpreters."""
    folder = environments or user_cache_directory() / "peers" / "environments"
    for name in names or WITH_PARSER:
        try:
            print(environment(WITH_PARSER[name], folder, install).python)
        except PeerUnavailable as error:
            print(f"no {name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
