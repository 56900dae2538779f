"""What a benchmark compares: methods of casspec in their variants, and transformers' own decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.loader import LoadedProfile
from casspec.runtime.policies import METHODS
from casspec.runtime.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Mode
from casspec.tuner.peers import PEER_VARIANT, PROMPT_LOOKUP, TransformersPeer, early_exit

AUTOREGRESSIVE = "autoregressive"
CASCADE = "dytc"


class Contestant(Protocol):
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
    """A method in one variant: "published" or "tuned" parameters, or "peer" for an outside implementation."""

    method: str
    variant: str
    decoder: Contestant
    modes: tuple[Mode, ...] = ("sample", "greedy")

    @property
    def is_peer(self) -> bool:
        return self.variant == PEER_VARIANT

    @property
    def label(self) -> str:
        return f"{self.method} ({self.variant})"


def method_entries(
    target: TargetModel, profile: LoadedProfile | None = None, methods: Sequence[str] | None = None
) -> list[Entry]:
    """Autoregressive first, then `methods` (default all): with published parameters, and tuned where the profile has
    some.

    The cascade is tuned by nature: with a profile it appears once, as "tuned", without one once, as "published".

    Raises UnsupportedOption for an unknown method, ProfileMismatch for a profile of another model or device.
    """
    chosen = list(METHODS) if methods is None else list(dict.fromkeys(methods))
    unknown = [method for method in chosen if method not in METHODS]
    if unknown:
        raise UnsupportedOption(f"unknown method '{unknown[0]}'; methods: {', '.join(METHODS)}")
    document = profile.document if profile else None
    entries = []
    for method in [AUTOREGRESSIVE, *(method for method in chosen if method != AUTOREGRESSIVE)]:
        tuned = document is not None and (method == CASCADE or bool(document.settings(method)))
        if method != CASCADE or not tuned:
            published = Decoder(target, profile, method, parameters={})
            entries.append(Entry(method, "published", published))
        if tuned:
            entries.append(Entry(method, "tuned", Decoder(target, profile, method)))
    return entries


def peer_entries(target: TargetModel, tell: Callable[[str], None] = lambda line: None) -> list[Entry]:
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
