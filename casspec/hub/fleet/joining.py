"""How a machine joins a fleet: `ray start`, with its devices as resources."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping

OBJECT_STORE_BYTES = 100_000_000
"""Nothing but short texts crosses Ray."""

HEAD = "head"


def own_resources(kind: str | None = None) -> dict[str, int]:
    """Devices of this machine by kind: its GPUs by their names, or its CPU where it has none. `kind`: another name for them."""
    import torch

    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n_gpus:
        return {kind or "cpu": 1}
    return dict(Counter(kind or torch.cuda.get_device_name(index) for index in range(n_gpus)))


def ray_start(address: str, resources: Mapping[str, int]) -> str:
    """The command by which a machine with these devices joins the head at host:port, or is the head itself where `address` is HEAD."""
    joins = ["--head", "--include-dashboard=false"] if address == HEAD else [f"--address={address}"]
    words = ["ray", "start", *joins, f"--resources={json.dumps(dict(resources))}"]
    words += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats", "--block"]
    return f"RAY_AUTH_MODE=token {shlex.join(words)}"
