"""What a decoding step costs beside its forwards, measured in real decodes: what replay has to add to predicted latencies.

Masks, noise, argmax, look-ups, the tree: on a small model this is a tenth of a step of dytc and a fortieth of an autoregressive one, so
a speedup predicted from forwards alone promises too much. Python runs several times slower right after a forward, whose weights have
driven everything else out of the caches, than in a loop of its own, so nothing but a real decode tells. Constants a verification, a
drafted node and a forward of a plan are fitted to a few short ones, by decoding mode (noise costs, too), for three kinds of method:
autoregressive decoding, dytc, and all others, which do little between forwards. They are taken over the target's own slowdown in the same
decodes, so that a machine busier than when latencies were measured does not make them look larger.

The first steps of a text stand apart. After the prefill neither weights nor a method's data are where a processor has them at hand: the
first forward takes a fifth more than a later one, and it is eight or so until they are warm. What they take more altogether is a figure
of its own, once a text; it matters where few steps are needed.

The same decodes tell what else no timing of single forwards does: in autoregressive decoding every forward follows its like, and where a
processor's caches keep part of the weights from one to the next it is faster than a forward of the target between dytc's trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.base import ForwardMs, Policy, evenly_sparse
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.runtime.policies.dytc.reviewer import Reviewer
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.runtime.policies.prompt_lookup import PromptLookupPolicy
from casspec.runtime.policies.token_recycling import TokenRecyclingPolicy
from casspec.storage.document import Document
from casspec.storage.repository import Repository
from casspec.storage.schema import CASCADE, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE
from casspec.tuner.recordings.recording import Recording, recycling_matrix
from casspec.tuner.replay.step_probe import COLD_STEPS, Probe, Prober

OVERHEAD_KIND = "overhead"
OTHERS = "others"

PROBED_RECORDINGS_A_MODE, PROBED_STEPS = 3, 24
"""Of each decoding mode, and warm steps counted in each, where a calibration does not say otherwise."""

WARM_UP_STEPS = 4

CERTAIN = 1e3
"""Standard errors of optimism that make dytc ask its reviewer whatever it says."""


class Overhead(Document):
    """Milliseconds beside the forwards, and what is cold at first."""

    start_ms: float = 0.0
    """What the first steps of a text take longer than later ones, forwards included."""
    step_ms: float = 0.0
    """A verification."""
    node_ms: float = 0.0
    """A drafted node that is verified."""
    draft_ms: float = 0.0
    """A forward of a plan."""

    def verify_ms(self, n_tokens: int) -> float:
        """Beside a verification of `n_tokens` nodes, the root among them."""
        return self.step_ms + self.node_ms * (n_tokens - 1)


class Overheads(Document):
    """By decoding mode, of each kind of method."""

    by_mode: dict[Mode, dict[str, Overhead]]

    plain_slowdown: float = 1.0
    """What a forward of autoregressive decoding takes, over its prediction, where one over a tree of dytc takes what is predicted."""

    def of(self, method: str, mode: Mode) -> Overhead:
        """Of a method; nothing where the mode was not probed."""
        kinds = self.by_mode.get(mode, {})
        return kinds.get(method) or kinds.get(OTHERS) or Overhead()

    @property
    def review_ms(self) -> float:
        """Beside a forward of a plan inside dytc, over the decoding modes: what dytc is told."""
        return fmean(self.of(CASCADE, mode).draft_ms for mode in self.by_mode)


def stored_overheads(
    repository: Repository,
    calibration_id: str,
    load: Callable[[], TargetModel],
    recordings: Sequence[Recording],
    forward_ms: ForwardMs,
    per_mode: int = PROBED_RECORDINGS_A_MODE,
    n_steps: int = PROBED_STEPS,
) -> Overheads:
    """What a calibration measured; measured now, with the model, where it has not.

    Args:
        load: gives the model, called when nothing is stored. The rest as in `measure_overheads`.
    """
    document = repository.get_document(calibration_id, OVERHEAD_KIND, "all")
    if document is None:
        measured = measure_overheads(load(), recordings, per_mode, n_steps, forward_ms)
        document = repository.put_document(calibration_id, OVERHEAD_KIND, "all", measured.model_dump(mode="json"))
    return Overheads.model_validate(document)


def measure_overheads(
    target: TargetModel,
    recordings: Sequence[Recording],
    per_mode: int = PROBED_RECORDINGS_A_MODE,
    n_steps: int = PROBED_STEPS,
    forward_ms: ForwardMs | None = None,
) -> Overheads:
    """Decodes the beginnings of a few recordings with every probe in turn.

    Args:
        per_mode: recordings of each decoding mode, those with the shortest prompts: prefills tell nothing of steps.
        n_steps: counted of each once it is warm; fewer where its text is over before.
        forward_ms: predicts the target's steps, whose slowdown the figures are taken over; None takes them as they are.
    """
    by_mode: dict[Mode, dict[str, Overhead]] = {}
    plain_slowdowns = []
    for mode in dict.fromkeys(recording.mode for recording in recordings):
        of_mode = [recording for recording in recordings if recording.mode == mode]
        chosen = sorted(of_mode, key=lambda recording: len(recording.prompt_tokens))[:per_mode]
        probes = list(_probes(target, recordings, forward_ms))
        for kind, probe in probes:
            if not by_mode or kind == AUTOREGRESSIVE:  # of a mode only the noise, or its absence, is new
                probe.run(chosen[0], WARM_UP_STEPS)
        found: dict[str, list[Probe]] = {}
        for recording in chosen:
            for kind, probe in probes:
                found.setdefault(kind, []).append(probe.run(recording, COLD_STEPS + n_steps))
        autoregressive = found.pop(AUTOREGRESSIVE)
        slowdown = _slowdown(autoregressive)
        plain_slowdowns.append(slowdown / _slowdown(found[CASCADE], unknown=slowdown))
        plain = fit_overhead(autoregressive, slowdown)
        by_mode[mode] = {AUTOREGRESSIVE: plain} | {
            kind: fit_overhead(runs, slowdown, plain) for kind, runs in found.items()
        }
    return Overheads(by_mode=by_mode, plain_slowdown=fmean(plain_slowdowns or [1.0]))


def _slowdown(probes: Sequence[Probe], unknown: float = 1.0) -> float:
    """How many times as long as predicted a forward of the target took; `unknown` where none was predicted."""
    slowdowns = [slowdown for probe in probes for slowdown in probe.slowdowns]
    return median(slowdowns) if slowdowns else unknown


def fit_overhead(probes: Sequence[Probe], slowdown: float = 1.0, plain: Overhead | None = None) -> Overhead:
    """Non-negative least squares of the relative error. What never happened costs nothing.

    Args:
        slowdown: how many times slower than predicted the machine was; milliseconds are those of slowdown 1.
        plain: of an autoregressive step, below which no verification can fall.
    """
    from sklearn.linear_model import LinearRegression

    least_ms = plain.step_ms if plain else 0.0
    counts = np.array([(probe.steps, probe.nodes, probe.drafts) for probe in probes], float)
    measured = np.array([max(probe.overhead_ms, 1e-6) / slowdown for probe in probes])
    above = np.maximum(measured - least_ms * counts[:, 0], 0.0) / measured
    fit = LinearRegression(positive=True, fit_intercept=False).fit(counts / measured[:, None], above)
    step_ms, node_ms, draft_ms = (float(cost) for cost in fit.coef_)
    starts = [probe.start_ms / slowdown for probe in probes if probe.start_ms is not None]
    start_ms = max(median(starts or [0.0]), 0.0)  # one slow step of a busy machine would rule a mean
    return Overhead(start_ms=start_ms, step_ms=least_ms + step_ms, node_ms=node_ms, draft_ms=draft_ms)


def _probes(
    target: TargetModel, recordings: Sequence[Recording], forward_ms: ForwardMs | None
) -> Iterator[tuple[str, Prober]]:
    """(kind of method, probe): small and large trees, with forwards of a plan and without. Plain decoding stands beside each of dytc's,
    for the machine's slowdown drifts."""
    matrix = recycling_matrix(recordings, target.vocab_size)
    plan = evenly_sparse(target.n_layers, 0.5)
    cost_ms = forward_ms or LatencyPredictor(builtin_latency(target)).forward_ms

    def cascade(max_nodes: int, **parameters: Any) -> Policy:
        return DyTC(target.full_plan, cost_ms, matrix=matrix, max_nodes=max_nodes, correct_latency=False, **parameters)

    def probe(policy: Policy) -> Prober:
        return Prober(target, policy, forward_ms)

    plain = probe(Autoregressive())
    yield OTHERS, probe(PromptLookupPolicy())
    yield OTHERS, probe(TokenRecyclingPolicy(matrix))
    yield OTHERS, probe(LayerSparse(plan))
    for max_nodes in (8, 48):
        yield AUTOREGRESSIVE, plain
        yield CASCADE, probe(cascade(max_nodes))
    for max_nodes in (16, 48):
        yield AUTOREGRESSIVE, plain
        reviewer = Reviewer(plan, Ablation().reviewer_table(plan.name, 0.5, None), 0.5)
        yield CASCADE, probe(cascade(max_nodes, reviewers=[reviewer], optimism=CERTAIN))
