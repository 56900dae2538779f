"""casspec: autoregressive decoding, and dytc with the profile of this model on this device where there is one."""

from __future__ import annotations

from typing import Any

import torch
from serve import Emit, Generate, serve

import casspec
from casspec.profile_lookup import fitting_profile, profile_for
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ProfileNotFound, StorageError


def load(settings: dict[str, Any]) -> tuple[Generate, str]:
    """The model in bfloat16."""
    torch.set_num_threads(settings["threads"])
    target = casspec.load_target(settings["model"], dtype="bfloat16")
    method, about = settings["method"], f"casspec {casspec.__version__}, torch {torch.__version__}"
    profile = None
    if method == "dytc":
        profile = wanted_profile(target, settings["profile"], settings["storage"])
        document = profile.document if profile else None
        about += f", profile {document.profile_id}" if document else ", no profile: retrieval only"
    decoder = casspec.Decoder(target, profile, method)

    def generate(ids: list[int], n_tokens: int, temperature: float, seed: int, emit: Emit) -> list[int]:
        generation = decoder.generate(
            ids,
            max_new_tokens=n_tokens,
            temperature=temperature,
            seed=seed,
            stop_token_ids=[],
            on_tokens=lambda tokens: emit(len(tokens)),
        )
        return generation.token_ids

    return generate, about


def wanted_profile(target: TargetModel, selection: str | None, storage: str | None) -> LoadedProfile | None:
    """The profile asked for, or the latest stored one that fits; None where none does."""
    if selection:
        return profile_for(target, selection, storage)
    try:
        return fitting_profile(target, storage)
    except (ProfileNotFound, StorageError):
        return None


if __name__ == "__main__":
    serve(load)
