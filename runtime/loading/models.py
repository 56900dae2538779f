"""Loads models, in one line of error where there is none or none that the forward covers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from casspec.runtime.loading.checkpoints.adapters import merged, open_adapter
from casspec.runtime.loading.checkpoints.directories import check_directory
from casspec.runtime.loading.checkpoints.quantised import (
    prepared,
    quantisation_of,
    quiet_methods,
    quiet_warnings,
    settle_dtype,
)
from casspec.runtime.loading.checkpoints.text_part import text_part
from casspec.runtime.loading.fingerprint import model_fingerprint, weights_sha256
from casspec.runtime.loading.gguf import DTYPE as GGUF_DTYPE
from casspec.runtime.loading.gguf import GgufFile, complete, is_gguf, open_gguf, settle, source, unpacking
from casspec.runtime.loading.names import named
from casspec.runtime.model.row_check import rows_are_independent
from casspec.runtime.model.target import BackendChoice, TargetModel
from casspec.storage.errors import CasspecError, UnknownModel, UnsupportedModel, UnsupportedOption

_log = logging.getLogger("casspec")
_progress = logging.getLogger("casspec.progress")

EXPERIMENTAL = "model family '%s' is experimental: it passed the checks at load, but is not among those that every release is tested with"

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name_or_path: str | Path,
    device: str = "cpu",
    dtype: str = "auto",
    name: str = "",
    adapter: str | Path | None = None,
    backend: BackendChoice = "auto",
    compiles: bool = True,
) -> TargetModel:
    """Loads a causal language model and its tokenizer (None when it has none). Of a multimodal checkpoint that is its text part.

    Args:
        name_or_path: a local directory, a GGUF file, or a name on the model hub.
        device: cpu, cuda or cuda:N.
        dtype: float32, bfloat16, float16, or auto for the checkpoint's own, bfloat16 for a GGUF file.
        adapter: a directory with a LoRA, which is merged into the weights.
        backend: lean, generic, or auto for lean where it covers the model.
        compiles: forwards are compiled code on a processor, graphs on CUDA; False calls torch's operators. Where there can be no compiled
            code, operators are called too, and the logger `casspec.progress` is told why.

    Raises:
        UnknownModel: nothing there; UnsupportedModel: a family that no backend covers, or an adapter that cannot be merged;
        UnsupportedOption: device or dtype.
    """
    check_device(device)
    model, tokenizer = load_library_model(name_or_path, dtype, adapter)
    model = model.to(device).eval().requires_grad_(False)
    weights = weights_sha256(model)
    target = TargetModel(
        model,
        tokenizer,
        name=name or named(name_or_path, adapter),
        pack=compiles,
        owned=True,
        backend=backend,
        compiles=compiles,
    )
    if compiles and target.device.type == "cpu" and target.native_refusal is not None:
        _progress.info("forwards run by torch's operators, which takes longer: %s", target.native_refusal)
    if target.is_experimental:
        _log.warning(EXPERIMENTAL, target.family)
    target.fingerprint = model_fingerprint(target, weights)
    rows_are_independent(target)
    return target


def load_library_model(
    name_or_path: str | Path, dtype: str = "auto", adapter: str | Path | None = None
) -> tuple[Any, Any]:
    """transformers' model, on the CPU, and its tokenizer or None. Arguments and errors as of `load_model`."""
    if dtype != "auto" and dtype not in DTYPES:
        raise UnsupportedOption(f"unknown dtype '{dtype}'; choose auto, {', '.join(DTYPES)}")
    path = str(name_or_path)
    lora = None if adapter is None else open_adapter(adapter)
    file = open_gguf(path) if is_gguf(path) else None
    try:
        with quiet_library():
            check_directory(path)
            model, lacking, tokenizer = _read(path, file, dtype)
    except _unreadable() as error:
        raise UnknownModel(_reason(path, error)) from error
    if lacking:
        raise UnknownModel(
            f"'{path}' lacks {len(lacking)} weights its config asks for ({lacking[0]} ...); fetch it again"
        )
    if file:
        settle(model, file)
    return merged(model, lora, path) if lora else model, tokenizer


def load_config(name_or_path: str | Path) -> Any:
    """transformers' configuration of any model, covered by the forward or not. Raises UnknownModel where there is none."""
    from transformers import AutoConfig

    path = str(name_or_path)
    file = open_gguf(path) if is_gguf(path) else None
    try:
        with quiet_library(), _source(path, file) as (place, where):
            return AutoConfig.from_pretrained(place, trust_remote_code=False, **where)
    except _unreadable() as error:
        raise UnknownModel(_reason(path, error)) from error


def _unreadable() -> tuple[type[Exception], ...]:
    """What the library raises for a checkpoint that is damaged or of another release: its own, and what wrong settings lead to."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    of_settings = TypeError, AttributeError, ArithmeticError, AssertionError, LookupError, StrictDataclassError
    return OSError, ValueError, RuntimeError, ImportError, SafetensorError, *of_settings


def _source(path: str, file: GgufFile | None) -> AbstractContextManager[tuple[str, dict[str, str]]]:
    """What `from_pretrained` is called with: a place, and further arguments."""
    return source(file) if file else nullcontext((path, {}))


def _read(path: str, file: GgufFile | None, dtype: str) -> tuple[Any, list[str], Any]:
    """Model, names of the weights that its config asks for and nothing gave, and tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from casspec.runtime.model.generic.refusals import refused

    with _source(path, file) as (place, where):
        part = text_part(AutoConfig.from_pretrained(place, trust_remote_code=False, **where))
        config = complete(part.config, file) if file else prepared(part.config, path)
        reason = refused(config)
        if reason is not None:
            raise UnsupportedModel(reason)
        is_quantised = quantisation_of(config) is not None
        with quiet_methods(config):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place,
                config=config,
                dtype=DTYPES.get(dtype, GGUF_DTYPE if file else "auto"),
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                **where,
                **part.reading,
                **(unpacking() if file else {}),
            )
        tokenizer = _tokenizer(place, where)
    model, report = loaded
    if is_quantised:
        settle_dtype(model, DTYPES.get(dtype))
    lacking = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    return model, lacking, tokenizer


@contextmanager
def quiet_library() -> Iterator[None]:
    """Without the library's progress bars, reports and warnings: what matters of them reaches the user as one line."""
    from transformers.utils import logging as library

    bars, verbosity = library.is_progress_bar_enabled(), library.get_verbosity()
    library.disable_progress_bar()
    library.set_verbosity_error()
    try:
        with quiet_warnings():
            yield
    finally:
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()


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


def _tokenizer(place: str, where: dict[str, str]) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **where)
    except Exception:  # the tokenizers library raises bare ones: whatever it was, there is none that can be used
        return None


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, CasspecError):
        return str(error)
    if "CONVERSION" in str(error):  # of a report that the library prints elsewhere
        return f"'{path}' holds weights that transformers cannot convert here: their packing is another release's, or runs on other devices"
    if Path(path).is_dir():
        if files := sorted(Path(path).glob("*.gguf")):
            return f"'{path}' holds a GGUF file; name the file itself: {files[0]}"
        return f"'{path}' holds no model that can be loaded ({_first_line(error)}); expected config.json and safetensors weights"
    if is_gguf(path) or not isinstance(error, OSError):
        return f"model '{path}' could not be loaded: {_first_line(error)}"
    return (
        f"no model at '{path}': neither a directory here nor a name the model hub could give; "
        "use a local directory, a GGUF file, 'reference' or 'smollm2'"
    )


def _first_line(error: Exception) -> str:
    """Of what the library says; of a line that announces another one, both."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    told = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return told[:240]
