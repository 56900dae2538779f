"""What a model goes by: where it lies, and with an adapter in it both places. Such a name loads it again wherever a model is named."""

from __future__ import annotations

from pathlib import Path

JOINT = " + "


def named(model: str | Path, adapter: str | Path | None) -> str:
    """The name of a model with an adapter in it, and without one."""
    return str(model) if adapter is None else f"{model}{JOINT}{adapter}"


def parted(name: str | Path) -> tuple[str, str | None]:
    """Model and adapter, None where there is none. A path that exists is the model's, whatever it looks like.

    Either part may hold the joint itself: it is cut where a directory begins, else at its last joint.
    """
    parts = str(name).split(JOINT)
    if len(parts) == 1 or Path(name).expanduser().exists():
        return str(name), None
    cuts = [(JOINT.join(parts[:cut]), JOINT.join(parts[cut:])) for cut in range(len(parts) - 1, 0, -1)]
    return next((cut for cut in cuts if Path(cut[1]).expanduser().is_dir()), cuts[0])
