"""`casspec hub --ray`, but for the placer, which places stubs: python -m tests.casspec.hub.fleet.stub_hub STORAGE ADDRESS PORT."""

from __future__ import annotations

import sys

from casspec.cli.console import say
from casspec.hub.app import create_app
from casspec.hub.run import run
from casspec.hub.settings import HubSettings
from casspec.hub.working.local_worker import LocalWorker
from casspec.server.run import listening
from casspec.storage import open_repository


def main(storage: str, address: str, port: int) -> None:
    command = [sys.executable, "-m", "tests.casspec.hub.fleet.stubs", storage, address]
    with (
        open_repository(storage) as repository,
        listening("127.0.0.1", port) as place,
        LocalWorker(command, {}, say).running(),
    ):
        run(create_app(repository, HubSettings(poll_s=0.2)), place)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
