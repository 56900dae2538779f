"""Loads models and profiles, and refuses a profile that was made for others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import CasspecError, ProfileMismatch, UnknownModel, UnsupportedOption
from casspec.storage.schema import CASCADE, CascadeProfile, MethodSettings

_log = logging.getLogger("casspec")


@dataclass(frozen=True)
class LoadedProfile:
    """A profile with the artifacts it names. Without the recycling matrix the recycling drafters start cold.

    `task`: what is decoded; where the profile has a cascade of this task's own, that one runs.
    """

    document: CascadeProfile | None
    recycling_matrix: bytes | None = None
    task: str | None = None

    @property
    def cascade(self) -> CascadeProfile | None:
        """The document with the cascade of the task in place of the one for all."""
        return self.document and cascade_of(self.document, self.task)


def cascade_of(profile: CascadeProfile, task: str | None) -> CascadeProfile:
    """The profile with the cascade of `task` in place of the one for all; itself for a task without one of its own."""
    own = profile.by_task.get(task) if task is not None else None
    if own is None:
        return profile
    drafters = [
        drafter.model_copy(update={"parameters": drafter.parameters | {"cascade": drafter.name in own.drafters}})
        if drafter.kind == "self"
        else drafter
        for drafter in profile.drafters
    ]
    others = [entry for entry in profile.methods if (entry.method, entry.variant) != (CASCADE, "tuned")]
    return profile.model_copy(
        update={
            "drafters": tuple(drafters),
            "methods": (*others, MethodSettings(method=CASCADE, variant="tuned", parameters=own.parameters)),
            "decision": own.decision,
            "predicted_speedup": own.predicted_speedup,
        }
    )


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(name_or_path: str | Path, device: str = "cpu", dtype: str = "auto", name: str = "") -> TargetModel:
    """Loads a Hugging Face causal language model and its tokenizer (None when it has none).

    Args:
        name_or_path: a local directory, or a name on the model hub.
        device: cpu, cuda or cuda:N.
        dtype: float32, bfloat16, float16, or auto for the checkpoint's own.

    Raises:
        UnknownModel: nothing there; UnsupportedModel: a family the forward does not cover; UnsupportedOption: device or dtype.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    from casspec.runtime.model.families import family_of

    check_device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise UnsupportedOption(f"unknown dtype '{dtype}'; choose auto, {', '.join(DTYPES)}")
    path = str(name_or_path)
    try:
        with _quiet_library():
            family_of(AutoConfig.from_pretrained(path))
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=DTYPES.get(dtype, "auto"),
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UnknownModel(_reason(path, error)) from error
    model, report = loaded
    lacking = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if lacking:
        raise UnknownModel(
            f"'{path}' lacks {len(lacking)} weights its config asks for ({lacking[0]} ...); fetch it again"
        )
    model = model.to(device).eval().requires_grad_(False)
    return TargetModel(model, _tokenizer(path), name=name or path)


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Without the library's progress bars and reports: what matters of them reaches the user as one line."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def check_device(device: str) -> None:
    """Raises UnsupportedOption for a device this process does not have."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UnsupportedOption(f"unknown device '{device}'; choose cpu, cuda or cuda:N") from error
    if kind not in ("cpu", "cuda"):
        raise UnsupportedOption(f"device '{device}' is not supported; choose cpu, cuda or cuda:N")
    if kind == "cuda":
        index = torch.device(device).index or 0
        if not torch.cuda.is_available():
            raise UnsupportedOption(
                "no CUDA device is available to torch; use --device cpu or install a CUDA build of torch"
            )
        if index >= torch.cuda.device_count():
            raise UnsupportedOption(
                f"there is no '{device}'; this machine has {torch.cuda.device_count()} CUDA device(s)"
            )


def check_profile(profile: CascadeProfile, target: TargetModel) -> None:
    """Refuses a profile whose calibration says nothing about this model here, and warns of one that may misjudge its speed.

    * Another model or dtype, another kind of device, or one with other kernels (instruction sets, SM version): ProfileMismatch.
    * The same kernels on a device of another name, with more or less memory or another number of threads: one line of warning, once
      a process. Texts are the same, the cascade may no longer be the fastest.
    """
    difference = compare_profile(profile, target)
    if difference is not None:
        _warn_once(
            f"profile {profile.profile_id} was calibrated {difference}: texts are the same, but other drafters may be faster; "
            f"casspec calibrate {target.name} makes a profile of this device"
        )


@cache
def _warn_once(line: str) -> None:
    _log.warning(line)


def compare_profile(profile: CascadeProfile, target: TargetModel) -> str | None:
    """How this device differs in speed from the one calibrated (`speed_difference`), None where it does not.

    Raises ProfileMismatch for another model or dtype, and for a device with other kernels (`kernel_difference`).
    """
    from casspec.runtime.loading.device import device_fingerprint, kernel_difference, speed_difference
    from casspec.runtime.loading.fingerprint import model_fingerprint

    found = model_fingerprint(target)
    calibrated_for = profile.model
    if None in (
        found.tokenizer_sha256,
        calibrated_for.tokenizer_sha256,
    ):  # a model wrapped or loaded without a tokenizer
        unknown = {"tokenizer_sha256": None}
        found, calibrated_for = found.model_copy(update=unknown), calibrated_for.model_copy(update=unknown)
    if found.content_hash() != calibrated_for.content_hash():
        differing = [
            part
            for part in ("config", "weights", "tokenizer")
            if getattr(found, f"{part}_sha256") != getattr(calibrated_for, f"{part}_sha256")
        ]
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated for '{profile.model.name}', not for '{target.name}' "
            f"(another {', '.join(differing) or 'model'}); run: casspec calibrate {target.name}"
        )
    dtype = target.dtype_name
    if dtype != profile.dtype:
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated in {profile.dtype}, the model is loaded in {dtype}; "
            f"load it with dtype {profile.dtype} or run: casspec calibrate {target.name} --dtype {dtype}"
        )
    here = device_fingerprint(target.device)
    refusal = kernel_difference(profile.device, here)
    if refusal is not None:
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated {refusal}; run casspec calibrate on this device"
        )
    return speed_difference(profile.device, here)


def _tokenizer(path: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError):
        return None


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, CasspecError):
        return str(error)
    if Path(path).is_dir():
        return f"'{path}' holds no model that can be loaded ({_first_line(error)}); expected config.json and safetensors weights"
    if not isinstance(error, OSError):
        return f"model '{path}' could not be loaded: {_first_line(error)}"
    return f"no model at '{path}': neither a directory here nor a name the model hub could give; use a local directory or 'reference'"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
