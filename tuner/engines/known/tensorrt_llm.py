"""TensorRT-LLM: a file of YAML for `trtllm-serve`, its counters, and its pool of n-grams.

By the sources of 1.3, PyTorch backend. `NGram` keeps a pool of n-grams and of what followed them. It is asked for a pool of each request's
own: with a common one a prompt that is asked again would find its own answer there. Draft lengths by batch (`draft_len_schedule`) are left
alone, for up to 1.2 a number in it is the least batch of a length, and later the largest. Counters need `return_perf_metrics` and
`enable_iter_perf_stats`, are told once a request has ended, and lie beside `/metrics`, which holds something else. Requests with a field
that it does not know are refused. Token ids are told in place of text (`detokenize`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casspec.storage.engines.documents import OFF, EngineSetting
from casspec.storage.errors import EngineError
from casspec.storage.export.engine_file import file_text
from casspec.tuner.engines.known.installed import interpreter, told_by
from casspec.tuner.engines.known.one_length import OneLength
from casspec.tuner.engines.protocol import Abilities, CounterNames, NgramSpace, Start

NGRAM, SUFFIX = "NGram", "SA"
LENGTH, LONGEST = "max_draft_len", "max_matching_ngram_size"
SUFFIX_TOKENS = 8

WITHOUT_OVERLAP = frozenset({NGRAM, "Draft_Target"})
"""Methods that do not go with its overlapped scheduler."""

COMMON_METHODS = frozenset({OFF, NGRAM, "Draft_Target", "Eagle3", "MTP"})

MEASURED_WITH: dict[str, Any] = {
    "return_perf_metrics": True,
    "enable_iter_perf_stats": True,
    "kv_cache_config": {"enable_block_reuse": False},
}
"""Options of an engine that is started here: it counts, and keeps no prefixes of prompts that will be asked again."""

LOOK = """
import json, pathlib
from importlib.metadata import version
from importlib.util import find_spec
place = pathlib.Path(find_spec("tensorrt_llm").submodule_search_locations[0])
settings = (place / "llmapi" / "llm_args.py").read_text("utf-8")
print(json.dumps({
    "version": version("tensorrt_llm"),
    "methods": [name for name in ("NGram", "SA") if f"class {name}DecodingConfig" in settings],
}))
"""
"""Asks an interpreter what it has, without importing TensorRT-LLM, which takes seconds."""


class TensorrtLlm(OneLength):
    """Follows `casspec.tuner.engines.protocol.Engine`."""

    name = "tensorrt-llm"
    ready_path = "/health"
    version_path = "/version"
    version_field = "version"
    forget_path: str | None = None
    scratch_variable: str | None = None
    deciding_variables: tuple[str, ...] = ()
    counters = CounterNames(
        generated="trtllm_generation_tokens_total",
        draft_tokens="trtllm_spec_decode_num_draft_tokens_total",
        accepted_tokens="trtllm_spec_decode_num_accepted_tokens_total",
        is_late=True,
        path="/prometheus/metrics",
    )
    ngram: NgramSpace | None = NgramSpace(shortest=(1, 1), longest=(1, 8), draft_tokens=(1, 12))

    def interpreter(self, named: Path | None) -> Path:
        return interpreter(named, "trtllm-serve")

    def abilities(self, python: Path) -> Abilities:
        found = told_by(python, LOOK)
        if found is None:
            raise EngineError(f"{python} has no TensorRT-LLM: install it there, or name another --engine-python")
        return Abilities(found["version"], False, (COMMON_METHODS - {NGRAM}) | set(found["methods"]))

    def abilities_of(self, version: str) -> Abilities:
        return Abilities(version, False, COMMON_METHODS)

    def words(self, start: Start) -> list[str]:
        found = [str(start.python), "-m", "tensorrt_llm.commands.serve", "serve", start.model]
        found += ["--port", str(start.port), "--host", "127.0.0.1"]
        found += ["--max_seq_len", str(start.context)] if start.context else []
        return [*found, "--extra_llm_api_options", str(self._file(start)), *start.words]

    def _file(self, start: Start) -> Path:
        told = dict(MEASURED_WITH) if start.dtype == "auto" else MEASURED_WITH | {"dtype": start.dtype}
        folder = start.folder or Path.cwd()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}-{start.setting.content_hash()[:12]}.yaml"
        file.write_text(file_text(self.name, told | (self.configuration(start.setting) or {})), encoding="utf-8")
        return file

    def request_fields(self, fresh: str) -> dict[str, Any]:
        return {"detokenize": False}

    def answer_ids(self, choice: Mapping[str, Any]) -> list[int] | None:
        ids = choice.get("token_ids")
        return None if ids is None else [int(token) for token in ids]

    def ngram_setting(self, shortest: int, longest: int, draft_tokens: int) -> EngineSetting:
        """N-grams of up to `longest` tokens; it takes matches of one token too."""
        found = {LENGTH: draft_tokens, LONGEST: longest, "is_public_pool": False}
        return EngineSetting(method=NGRAM, parameters=found)

    def ngram_lengths(self, setting: EngineSetting) -> tuple[int, int] | None:
        return (1, int(setting.parameters[LONGEST])) if setting.method == NGRAM else None

    def defaults(self, abilities: Abilities) -> Sequence[EngineSetting]:
        if SUFFIX not in abilities.methods:
            return ()
        return [EngineSetting(method=SUFFIX, parameters={LENGTH: SUFFIX_TOKENS})]

    def drafts_at(self, setting: EngineSetting, concurrency: int) -> int:
        return int(setting.parameters.get(LENGTH, 0))

    def configuration(self, setting: EngineSetting) -> dict[str, Any] | None:
        if setting.is_off:
            return None
        found: dict[str, Any] = {"speculative_config": {"decoding_type": setting.method, **setting.parameters}}
        return found | ({"disable_overlap_scheduler": True} if setting.method in WITHOUT_OVERLAP else {})

    def refuses(self, setting: EngineSetting) -> tuple[str, ...]:
        if setting.is_off:
            return ()
        return ("TensorRT-LLM speculates so with its PyTorch backend only",)
