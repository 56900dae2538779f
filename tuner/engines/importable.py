"""Makes casspec importable in another environment, without the packages that are installed beside it here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

FLOORS = ("storage", "runtime", "profiler", "tuner", "migrations")


def importable(folder: Path) -> Path:
    """A folder for PYTHONPATH that holds `casspec` and nothing else, made in `folder` of links.

    A folder of casspec's own would not do: beside an installed one lie all other packages, which would hide the engine's.
    """
    package = folder / "casspec"
    package.mkdir(parents=True, exist_ok=True)
    for name in ("", *FLOORS):
        spec = find_spec(".".join(filter(None, ("casspec", name))))
        if spec is None or not spec.submodule_search_locations:
            continue
        place = Path(next(iter(spec.submodule_search_locations)))
        for source, target in (
            [(place, package / name)] if name else [(each, package / each.name) for each in place.iterdir()]
        ):
            if target.is_symlink() and target.readlink() != source:
                target.unlink()  # casspec lay elsewhere
            if not target.exists() and source.name != "__pycache__":
                target.symlink_to(source, target_is_directory=source.is_dir())
    return folder
