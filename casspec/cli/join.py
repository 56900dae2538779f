"""`casspec tune --join`: takes part in the search of a calibration that runs elsewhere."""

from __future__ import annotations

from casspec.cli.calibrated import load_calibrated
from casspec.cli.console import say, show_stages


def join(selection: str, model: str | None, device: str, compiles: bool | None, storage: str | None) -> None:
    """Evaluates drafters for the calibration with this ID, or the `latest` under way, until its budget is spent.

    Args:
        model: where the calibrated model lies on this machine; None for the same name as there.
        compiles: whether forwards are compiled; None for as they are there.
    """
    from casspec.runtime.model.target import TargetModel
    from casspec.storage import open_repository
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.search.stage import joined, searches

    with open_repository(storage) as repository:
        calibration = repository.stored_calibration(selection, searches)

        def load() -> TargetModel:
            backend, forwards = calibration.settings.get("backend", "lean"), calibration.settings.get("forwards")
            return load_calibrated(
                model or calibration.model.name, device, calibration.dtype, backend, forwards, compiles
            )

        asked = calibration.settings.get("search", {}).get("trials")
        trials = (
            asked if isinstance(asked, int) and asked else None
        )  # where the search itself says how many, nobody is asked
        with show_stages(("search",)) as stages, stages.stage("search", trials) as progress:
            found = joined(
                repository,
                external_databases(storage),
                calibration,
                load,
                progress,
            )
    if found is None:
        say(f"the search of calibration {calibration.calibration_id} is over")
    else:
        say(
            f"calibration {calibration.calibration_id}: {found[1]} drafters evaluated, {found[0]} when this worker joined"
        )
