"""The fakes of SGLang, TensorRT-LLM and llama.cpp, installed beside a test."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent


def metadata(place: Path, name: str, version: str) -> None:
    folder = place / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def package(file: Path, dialect: str) -> None:
    """A module that serves, and the packages it lies in."""
    file.parent.mkdir(parents=True)
    for folder in (file.parent, file.parent.parent):
        if folder.name != "installed":
            (folder / "__init__.py").touch()
    file.write_text(f'from fake_kin import main\n\nif __name__ == "__main__":\n    main("{dialect}")\n')


def install(place: Path) -> Path:
    """All three in a folder named `installed`, which is to be on PYTHONPATH. Returns the program `llama-server`."""
    place.mkdir(exist_ok=True)
    for name in ("fake_vllm.py", "fake_kin.py"):
        shutil.copy(HERE / name, place)
    package(place / "sglang" / "launch_server.py", "sglang")
    (place / "sglang" / "srt").mkdir()
    (place / "sglang" / "srt" / "server_args.py").write_text('"""speculative_ngram_max_bfs_breadth"""\n')
    metadata(place, "sglang", "0.5.23")
    package(place / "tensorrt_llm" / "commands" / "serve.py", "tensorrt")
    (place / "tensorrt_llm" / "llmapi").mkdir()
    (place / "tensorrt_llm" / "llmapi" / "llm_args.py").write_text('"""class NGramDecodingConfig"""\n')
    metadata(place, "tensorrt_llm", "1.3.0")
    program = place / "llama-server"
    program.write_text(f"#!{sys.executable}\nfrom fake_kin import main\n\nmain('llama')\n")
    program.chmod(0o755)
    return program
