"""What a benchmark compares: methods of casspec in their variants, and transformers' own decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from casspec.profiler.progress import Tell, untold
from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import all_methods, method_class
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CASCADE, Mode
from casspec.tuner.bench.peers import PEER_VARIANT, PROMPT_LOOKUP, TransformersPeer, early_exit

AUTOREGRESSIVE = "autoregressive"
PUBLISHED, TUNED = "published", "tuned"
RETRIEVAL_ONLY = "retrieval-only"
AS_CALIBRATED = "as calibrated"
"""dytc that believes in the latencies of its profile, whatever forwards take while it decodes: what a replay replays."""

BOTH_MODES: tuple[Mode, ...] = ("sample", "greedy")
AGAINST = "against"
"""What another profile decodes with."""


class TextGenerator(Protocol):
    """Whatever decodes as `casspec.Decoder` does."""

    def generate(
        self,
        input_ids: list[int],
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        stop_token_ids: list[int] | None = None,
    ) -> Generation: ...


@dataclass(frozen=True)
class Entry:
    """A method in one variant: "published" or "tuned" parameters, "peer" for an outside implementation, else what it does without."""

    method: str
    variant: str
    decoder: TextGenerator
    modes: tuple[Mode, ...] = BOTH_MODES
    by_task: Mapping[str, TextGenerator] = field(default_factory=dict)
    """For tasks with a cascade of their own."""

    def generator(self, task: str) -> TextGenerator:
        """What decodes the prompts of a task."""
        return self.by_task.get(task, self.decoder)

    @property
    def is_peer(self) -> bool:
        return self.variant == PEER_VARIANT

    @property
    def label(self) -> str:
        return f"{self.method} ({self.variant})"


def method_entries(
    target: TargetModel,
    profile: LoadedProfile | None = None,
    methods: Sequence[str] | None = None,
    tell: Tell = untold,
) -> list[Entry]:
    """Autoregressive first, then `methods` (default all): with published parameters, and tuned where the profile has some.

    The cascade is tuned by nature: with a profile it appears once, as "tuned", without one once, as "published". On prompts of a
    task with a cascade of its own that one runs. Of all methods, one that cannot run here in each of its variants is left out and
    told in one line.

    Raises:
        UnsupportedOption: an unknown method, or a named one that cannot run here.
        ProfileMismatch: a profile of another model or device.
    """
    chosen = list(all_methods()) if methods is None else list(dict.fromkeys(methods))
    for method in chosen:
        method_class(method)
    document = profile.document if profile else None
    entries: list[Entry] = []
    for method in [AUTOREGRESSIVE, *(method for method in chosen if method != AUTOREGRESSIVE)]:
        tuned = document is not None and (method == CASCADE or bool(document.settings(method)))
        variants = []
        try:
            if method != CASCADE or not tuned:
                variants.append(Entry(method, PUBLISHED, Decoder(target, profile, method, parameters={})))
            if tuned:
                own = _by_task(target, profile) if method == CASCADE else {}
                variants.append(Entry(method, TUNED, Decoder(target, profile, method), by_task=own))
        except UnsupportedOption as refusal:
            if methods is not None:
                raise
            tell(f"{method} is left out: {refusal}")
        else:
            entries += variants
    return entries


def _by_task(target: TargetModel, profile: LoadedProfile | None) -> dict[str, TextGenerator]:
    """A decoder for each task with a cascade of its own."""
    if profile is None or profile.document is None:
        return {}
    return {task: Decoder(target, replace(profile, task=task), CASCADE) for task in profile.document.by_task}


def ablation_entries(target: TargetModel, profile: LoadedProfile | None = None) -> list[Entry]:
    """The cascade with each of its answers switched off, with all of them off, and, where it has self-drafters, with retrieval alone."""
    document = profile.document if profile else None
    settings = dict[str, Any](document.settings(CASCADE)) if document else {}
    every = [field.name for field in fields(Ablation)]
    entries = [
        Entry(CASCADE, f"without {name}", Decoder(target, profile, CASCADE, {**settings, "without": without}))
        for name, without in [*zip(every, every, strict=True), ("any", ",".join(every))]
    ]
    if profile and document and document.decision == "cascade":
        alone = LoadedProfile(document.model_copy(update={"decision": RETRIEVAL_ONLY}), profile.recycling_matrix)
        # Tree sizes of the profile are those that pay with reviews; the published ones are retrieval's own.
        entries.append(Entry(CASCADE, RETRIEVAL_ONLY, Decoder(target, alone, CASCADE, parameters={})))
    return entries


def against_entries(target: TargetModel, profile: LoadedProfile) -> list[Entry]:
    """What another profile decodes with where nobody names a method, by mode. Raises ProfileMismatch for one of another model or device."""
    document = profile.document
    if document is None:
        return []
    methods: dict[str, list[Mode]] = {}
    for mode in BOTH_MODES:
        methods.setdefault(document.fastest(mode), []).append(mode)
    return [
        Entry(
            method,
            AGAINST,
            Decoder(target, profile, method),
            tuple(modes),
            _by_task(target, profile) if method == CASCADE else {},
        )
        for method, modes in methods.items()
    ]


def as_calibrated(target: TargetModel, profile: LoadedProfile) -> list[Entry]:
    """The cascade with the latencies of its profile alone; nothing where that is what it does anyway, being off."""

    def believing(task: str | None) -> Decoder:
        loaded = replace(profile, task=task)
        cascade = loaded.cascade
        if cascade is None or cascade.decision == "off":
            return Decoder(target, loaded, CASCADE)
        return Decoder(target, loaded, CASCADE, {**cascade.settings(CASCADE), "correct_latency": False})

    document = profile.document
    if document is None or document.decision == "off":
        return []
    return [
        Entry(CASCADE, AS_CALIBRATED, believing(None), by_task={task: believing(task) for task in document.by_task})
    ]


def peer_entries(target: TargetModel, tell: Tell = untold) -> list[Entry]:
    """transformers' greedy `generate()` on the target's own weights: plain, with its prompt lookup as published, and
    with its early-exit assistance. One that the library refuses for this model is left out and told in one line.
    """
    peers = {
        "transformers": TransformersPeer(target),
        "transformers-prompt-lookup": TransformersPeer(target, **PROMPT_LOOKUP),
        "transformers-early-exit": TransformersPeer(target, **early_exit(target)),
    }
    entries = []
    for method, peer in peers.items():
        refusal = peer.refusal()
        if refusal is None:
            entries.append(Entry(method, PEER_VARIANT, peer, ("greedy",)))
        else:
            tell(f"{method} is left out, transformers refuses it: {refusal}")
    return entries
