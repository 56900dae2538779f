"""SGLang: options `--speculative-*`, its counters, and its tree of n-grams.

By the sources of 0.5.23. `NGRAM` copies from a tree that holds the texts of all requests. So the engine is told to forget before it is
asked again, with `/flush_cache`, and what it would draft is not known from a text alone: a few settings are measured without prediction.
`--speculative-num-draft-tokens` counts the token that the text ends with. Counters need `--enable-metrics`, and are told once a request has
ended. Accepted tokens are not counted; every step after the first token verifies a draft.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casspec.storage.engines.documents import OFF, EngineSetting
from casspec.storage.errors import EngineError
from casspec.storage.export.engine_file import option_words
from casspec.tuner.engines.known.installed import interpreter, told_by
from casspec.tuner.engines.known.one_length import OneLength
from casspec.tuner.engines.protocol import SERVED_NAME, Abilities, CounterNames, NgramSpace, Start

NGRAM, ALGORITHM = "NGRAM", "speculative-algorithm"
LENGTH, BREADTH = "speculative-num-draft-tokens", "speculative-ngram-max-bfs-breadth"

OWN_LENGTH, OWN_STEPS = 12, 5
"""Its defaults: tokens verified with NGRAM, and steps of a draft model."""

GRID = ({LENGTH: OWN_LENGTH}, {LENGTH: 8, BREADTH: 1}, {LENGTH: 4, BREADTH: 1})
"""Its default, a tree, and chains of two lengths."""

COMMON_METHODS = frozenset({OFF, "EAGLE", "EAGLE3", "NEXTN", "STANDALONE"})

LOOK = """
import json, pathlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
place = pathlib.Path(find_spec("sglang").submodule_search_locations[0]) / "srt"
files = [place / "server_args.py", *sorted((place / "arg_groups").rglob("*.py"))]
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
print(json.dumps({
    "version": of("sglang") or of("sglang-cpu") or of("amd-sglang"),
    "ngram": any("speculative_ngram_max_bfs_breadth" in file.read_text("utf-8") for file in files),
}))
"""
"""Asks an interpreter what it has, without importing SGLang, which takes seconds."""


class Sglang(OneLength):
    """Follows `casspec.tuner.engines.protocol.Engine`."""

    name = "sglang"
    ready_path = "/health"
    version_path = "/server_info"
    version_field = "version"
    forget_path: str | None = "/flush_cache?timeout=20"
    scratch_variable: str | None = None
    deciding_variables: tuple[str, ...] = ()
    counters = CounterNames(
        generated="sglang:generation_tokens_total",
        drafts="sglang:spec_verify_calls_total",
        requests="sglang:num_requests_total",
        is_late=True,
    )
    ngram: NgramSpace | None = None

    def interpreter(self, named: Path | None) -> Path:
        return interpreter(named, "sglang")

    def abilities(self, python: Path) -> Abilities:
        found = told_by(python, LOOK)
        if found is None:
            raise EngineError(f"{python} has no SGLang: install it there, or name another --engine-python")
        return Abilities(found["version"], False, COMMON_METHODS | ({NGRAM} if found["ngram"] else set()))

    def abilities_of(self, version: str) -> Abilities:
        return Abilities(version, False, COMMON_METHODS | {NGRAM})

    def words(self, start: Start) -> list[str]:
        found = [str(start.python), "-m", "sglang.launch_server", "--model-path", start.model]
        found += ["--port", str(start.port), "--host", "127.0.0.1", "--served-model-name", SERVED_NAME]
        found += ["--dtype", start.dtype, "--enable-metrics"]
        found += ["--context-length", str(start.context)] if start.context else []
        return [*found, *option_words(self.configuration(start.setting) or {}), *start.words]

    def request_fields(self, fresh: str) -> dict[str, Any]:
        return {"return_token_ids": True, "cache_salt": fresh}

    def answer_ids(self, choice: Mapping[str, Any]) -> list[int] | None:
        ids = choice.get("token_ids")
        return None if ids is None else [int(token) for token in ids]

    def ngram_setting(self, shortest: int, longest: int, draft_tokens: int) -> EngineSetting:
        """A chain; the tree takes n-grams of any length."""
        return EngineSetting(method=NGRAM, parameters={LENGTH: draft_tokens + 1, BREADTH: 1})

    def ngram_lengths(self, setting: EngineSetting) -> tuple[int, int] | None:
        return None

    def defaults(self, abilities: Abilities) -> Sequence[EngineSetting]:
        if NGRAM not in abilities.methods:
            return ()
        return [EngineSetting(method=NGRAM, parameters=dict(parameters)) for parameters in GRID]

    def drafts_at(self, setting: EngineSetting, concurrency: int) -> int:
        if setting.is_off:
            return 0
        own = OWN_LENGTH if setting.method == NGRAM else setting.parameters.get("speculative-num-steps", OWN_STEPS) + 1
        return int(setting.parameters.get(LENGTH, own)) - 1

    def configuration(self, setting: EngineSetting) -> dict[str, Any] | None:
        return None if setting.is_off else {ALGORITHM: setting.method, **setting.parameters}

    def refuses(self, setting: EngineSetting) -> tuple[str, ...]:
        if setting.method != NGRAM:
            return ()
        return (
            "with NGRAM SGLang serves 48 requests at a time unless --max-running-requests says otherwise, and no --enable-dp-attention",
            "what one user was answered may be drafted for another, who is not shown it; measured without, for all was forgotten before",
        )
