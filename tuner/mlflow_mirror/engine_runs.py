"""What MLflow is told of a search for how another engine speculates best: a parent, a child for each setting that was measured or failed.

What was only predicted is a table of the parent: there are hundreds of settings.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import median

from casspec.storage.engines.documents import EngineMeasurement, EngineResult, EngineTrial
from casspec.tuner.mlflow_mirror.runs import Part

TRIAL_COLUMNS = ("setting", "concurrency", "status", "predicted_tokens_per_second", "acceptance_length", "reason")


def engine_parent(result: EngineResult, trials: Sequence[EngineTrial]) -> Part:
    """The search as a whole: what it is of, what its configuration gains, every trial."""
    subject = result.subject
    metrics = {f"gain/{each.concurrency}": each.gain for each in result.configured}
    metrics |= {f"gain_low/{each.concurrency}": each.low for each in result.configured}
    metrics |= {f"plain_tokens_per_second/{each.concurrency}": each.plain_tokens_per_second for each in result.choices}
    if result.latency is not None:
        metrics["latency/median_error"] = result.latency.median_error
    params = {
        "engine": f"{subject.engine} {subject.engine_version}",
        "device": subject.device.name,
        "dtype": subject.dtype,
        "prompts": str(subject.prompts),
        "tokens": str(subject.tokens),
        "concurrency": ",".join(map(str, subject.concurrency)),
        "words": " ".join(subject.words),
        "seed": str(subject.seed),
    }
    texts = {"result.json": result.canonical_json(), "trials.csv": _trial_table(trials)}
    return Part(
        key=subject.content_hash(),
        name=f"{subject.engine} {subject.model.name}",
        metrics=metrics,
        params=params,
        texts=texts,
    )


def engine_children(trials: Sequence[EngineTrial], measured: Sequence[EngineMeasurement]) -> list[Part]:
    """One for each setting that was measured, with the median of its speeds, and one for each that failed."""
    found = {}
    for setting in {each.setting.content_hash(): each.setting for each in measured}.values():
        own = [each for each in measured if each.setting == setting]
        metrics = {}
        for concurrency in sorted({each.concurrency for each in own}):
            here = [each for each in own if each.concurrency == concurrency]
            metrics[f"tokens_per_second/{concurrency}"] = median(each.tokens_per_second for each in here)
            lengths = [each.acceptance_length for each in here if each.acceptance_length is not None]
            metrics |= {f"acceptance_length/{concurrency}": median(lengths)} if lengths else {}
        params = {"method": setting.method, **{name: str(value) for name, value in setting.parameters.items()}}
        key = setting.content_hash()
        found[key] = Part(key=f"setting {key[:24]}", name=setting.name[:200], metrics=metrics, params=params)
    for trial in trials:
        key = trial.setting.content_hash()
        if trial.status == "failed" and key not in found:
            texts = {"reason.txt": trial.reason or ""}
            params = {"method": trial.setting.method, "status": "failed"}
            found[key] = Part(
                key=f"setting {key[:24]}", name=trial.setting.name[:200], metrics={}, params=params, texts=texts
            )
    return list(found.values())


def _trial_table(trials: Sequence[EngineTrial]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TRIAL_COLUMNS)
    for trial in trials:
        writer.writerow((trial.setting.name, *(getattr(trial, name) for name in TRIAL_COLUMNS[1:])))
    return text.getvalue()
