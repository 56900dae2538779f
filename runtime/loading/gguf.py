"""GGUF files: what their header says, and how transformers is to read them. What it would read wrongly is refused in one line.

transformers unpacks every weight into a plain model, whatever its type in the file. It takes tokenizer and chat template from the file
too. Rotary scalings it passes over, without a word: a file with one is refused. The header is read here because the library's own
reader takes seconds for it and says little of a file that is cut short.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from casspec.storage.errors import UnknownModel, UnsupportedModel

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
EXTRA = ("gguf", "accelerate")
"""Libraries that transformers reads a file with: the extra `gguf`."""

DTYPE = torch.bfloat16
"""What `auto` means for a file: its weights are unpacked anyway."""

END_KEYS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
"""Tokens that end a text, a turn, a message."""

PASSED_OVER = (
    "attention.key_length",
    "attention.sliding_window",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.dimension_count",
)
"""Keys of a file, after its architecture, that transformers does not read for every family."""

LARGEST_GEMMA = {"gemma2": 46, "gemma3": 62}
"""Layers of the one size, 27B, whose scores are divided by the root of hidden / heads, not of a head's width. No key says so."""

FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
"""Types of metadata; all but these two have a fixed size."""


class GgufTensor(NamedTuple):
    """One entry of the tensor table."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int
    """Bytes from the start of the data."""


class GgufFile(NamedTuple):
    """A file that transformers can read, by its header."""

    path: Path
    metadata: dict[str, Any]
    """Numbers and strings by key; of an array its length."""
    tensors: tuple[GgufTensor, ...]
    data_start: int

    @property
    def stop_token_ids(self) -> list[int]:
        """Tokens after which nothing follows, without repetition."""
        return list(dict.fromkeys(int(self.metadata[key]) for key in END_KEYS if key in self.metadata))


def is_gguf(name_or_path: str | Path) -> bool:
    """Whether a model is named like a GGUF file, or is a file at all. Directories are not, whatever their name."""
    path = Path(name_or_path).expanduser()
    return path.is_file() or (path.suffix.lower() == SUFFIX and not path.is_dir())


def check_extra(name: str) -> None:
    """Raises UnsupportedModel where a library that reads GGUF files is missing; `name`: of the model."""
    missing = [library for library in EXTRA if find_spec(library) is None]
    if missing:
        raise UnsupportedModel(
            f"reading '{name}' takes {' and '.join(missing)}, not installed here; run: pip install 'casspec[gguf]'"
        )


def open_gguf(name_or_path: str | Path) -> GgufFile:
    """Reads the header of a file and checks what stands behind it, but no weight.

    Raises:
        UnknownModel: no such file, none of this format, or one cut short; UnsupportedModel: what transformers cannot read
            out of it, or the extra `gguf` is missing.
    """
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise UnknownModel(f"no file at '{name_or_path}'; expected a GGUF file")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                kind = "empty" if size == 0 else "no GGUF file"
                raise UnknownModel(f"'{path}' is {kind}; expected a GGUF file or a directory that holds a model")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                header = _Reader(content).header(path)
    except (struct.error, OverflowError, UnicodeDecodeError) as error:
        raise UnknownModel(f"'{path}' is cut short or damaged: its header does not end; fetch it again") from error
    except OSError as error:
        raise UnknownModel(f"'{path}' cannot be read: {error.strerror or error}") from error
    _refuse_what_is_read_wrongly(header)
    check_extra(str(name_or_path))
    _check_size(header, size)
    return header


@contextmanager
def source(file: GgufFile) -> Iterator[tuple[str, dict[str, str]]]:
    """Where `from_pretrained` finds it: a directory, and the argument that names the file in there.

    The directory holds a link to the file and nothing else: what lies beside the file, a tokenizer's configuration for
    instance, may be another model's. Bars that transformers draws regardless of its own settings are kept off stderr.
    """
    with TemporaryDirectory(prefix="casspec-") as directory, redirect_stderr(StringIO()):
        link = Path(directory) / f"model{SUFFIX}"
        try:
            link.symlink_to(file.path.resolve())
        except OSError:  # a platform or a user without links
            link = file.path
        yield str(link.parent), {"gguf_file": link.name}


def complete(config: Any, file: GgufFile) -> Any:
    """The configuration with what the file says and transformers passes over, taking the family's usual numbers instead."""
    architecture = file.metadata["general.architecture"]
    told = {key: file.metadata.get(f"{architecture}.{key}") for key in PASSED_OVER}
    if told["attention.key_length"] is not None:
        config.head_dim = told["attention.key_length"]
    if architecture in LARGEST_GEMMA:
        is_largest = config.num_hidden_layers == LARGEST_GEMMA[architecture]
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if is_largest else config.head_dim
        )
        config.attn_logit_softcapping = told["attn_logit_softcapping"]
        config.final_logit_softcapping = told["final_logit_softcapping"]
    if architecture == "phi3":
        config.sliding_window = told["attention.sliding_window"] or None
        if told["rope.dimension_count"] is not None:
            head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            config.rope_parameters["partial_rotary_factor"] = told["rope.dimension_count"] / head_dim
    return config


def unpacking() -> dict[str, Any]:
    """What a model's `from_pretrained` needs besides, to give plain weights."""
    from transformers.utils.quantization_config import GgufConfig

    return {"quantization_config": GgufConfig(dequantize=True)}


def settle(model: Any, file: GgufFile) -> None:
    """Gives a loaded library model the file's stop tokens, and makes sure that no weight of the file was passed over."""
    parameters = sum(1 for _ in model.parameters())
    if parameters != len(file.tensors):
        raise UnsupportedModel(
            f"transformers reads {parameters} of the {len(file.tensors)} tensors in '{file.path}'; use the model's own directory"
        )
    stop = file.stop_token_ids
    if stop:
        model.generation_config.eos_token_id = stop[0] if len(stop) == 1 else stop


# -------------------------------------------------------------------------------------------------------------- header


class _Reader:
    """Walks through a header, front to back. Past the end every read raises struct.error."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.place = len(MAGIC)

    def header(self, path: Path) -> GgufFile:
        (version,) = self.numbers("I")
        if version not in VERSIONS:
            raise UnsupportedModel(f"'{path}' is GGUF version {version}; versions 2 and 3 (little-endian) can be read")
        n_tensors, n_keys = self.numbers("QQ")
        metadata = {}
        for _ in range(n_keys):
            key = self.string()
            metadata[key] = self.value(self.numbers("I")[0], path)
        tensors = tuple(self.tensor() for _ in range(n_tensors))
        alignment = int(metadata.get("general.alignment", 32))
        return GgufFile(path, metadata, tensors, -(-self.place // alignment) * alignment)

    def numbers(self, format_: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{format_}", self.content, self.place)
        self.place += struct.calcsize(f"<{format_}")
        return values

    def string(self) -> str:
        (length,) = self.numbers("Q")
        (text,) = self.numbers(f"{length}s")
        return str(text.decode("utf-8"))

    def value(self, kind: int, path: Path) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.numbers(_format(kind, path))[0]
        of, count = self.numbers("IQ")
        if of in (STRING, ARRAY):
            for _ in range(count):
                self.value(of, path)
        else:
            self.place += count * struct.calcsize(f"<{_format(of, path)}")
        return count

    def tensor(self) -> GgufTensor:
        name = self.string()
        (n_dimensions,) = self.numbers("I")
        shape = self.numbers(f"{n_dimensions}Q")
        return GgufTensor(name, shape, *self.numbers("IQ"))


def _format(kind: int, path: Path) -> str:
    if kind not in FORMATS:
        raise UnknownModel(f"'{path}' is damaged: its header holds a value of unknown type {kind}; fetch it again")
    return FORMATS[kind]


def _refuse_what_is_read_wrongly(file: GgufFile) -> None:
    architecture = file.metadata.get("general.architecture")
    if architecture is None:
        raise UnknownModel(f"'{file.path}' does not say of which architecture it is; expected a language model")
    if file.metadata.get("split.count", 1) > 1:
        raise UnsupportedModel(
            f"'{file.path}' is one of {file.metadata['split.count']} parts of a model; merge them into one file"
        )
    scaling = file.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or any(tensor.name.startswith("rope_") for tensor in file.tensors):
        raise UnsupportedModel(
            f"'{file.path}' scales its rotary frequencies, which transformers does not read from GGUF; use the model's own directory"
        )


def _check_size(file: GgufFile, size: int) -> None:
    """Raises UnknownModel where the file ends before its last tensor does."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    end = file.data_start
    for tensor in file.tensors:
        try:
            values, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.ggml_type)]
        except (ValueError, KeyError) as error:
            raise UnsupportedModel(
                f"'{file.path}' holds weights of type {tensor.ggml_type}, which the installed gguf does not know; update gguf"
            ) from error
        end = max(end, file.data_start + tensor.offset + prod(tensor.shape) // values * n_bytes)
    if size < end:
        raise UnknownModel(f"'{file.path}' is cut short: {size} bytes of {end}; fetch it again")
