"""llama.cpp's server: options `--spec-*`, its counters, and its lookup in the text itself.

By the sources of b11434. `ngram-simple` copies what followed the last occurrence of the n-gram that ends the text. It never makes a draft
that is shorter than the n-gram. `ngram-mod` shares one pool between all requests, so that a prompt that is asked again finds its own answer
there: it is measured only where the user names it. Counters need `--metrics`, and count a request when it has ended. Answers tell no token
ids: those of their text are taken. All requests share one cache of keys and values (`--kv-unified`), as where the server chooses itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casspec.storage.engines.documents import OFF, EngineSetting
from casspec.storage.errors import EngineError
from casspec.storage.export.engine_file import option_words
from casspec.tuner.engines.known.installed import program, said_by
from casspec.tuner.engines.known.one_length import OneLength
from casspec.tuner.engines.protocol import SERVED_NAME, Abilities, CounterNames, NgramSpace, Start

COMMAND, SUFFIX = "llama-server", ".gguf"
SIMPLE, MAP = "ngram-simple", "ngram-map-k"
ROOM = 64
"""Tokens of a request's cache beside its text: drafts, and what the server keeps free."""

OWN_DRAFTS = {"ngram-simple": 48, "ngram-map-k": 48, "ngram-map-k4v": 48, "ngram-mod": 64, "ngram-cache": 8}
"""Its defaults; of methods with a draft model 3."""

METHODS = frozenset({OFF, *OWN_DRAFTS, "draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash"})
BUILD = re.compile(r"\(build (\d+), commit (\w+)\)|version: (\d+) \((\w+)\)")


class LlamaCpp(OneLength):
    """Follows `casspec.tuner.engines.protocol.Engine`."""

    name = "llama.cpp"
    ready_path = "/health"
    version_path = "/props"
    version_field = "build_info"
    forget_path: str | None = None
    scratch_variable: str | None = None
    deciding_variables: tuple[str, ...] = ()
    counters = CounterNames(
        generated="llamacpp:tokens_predicted_total",
        drafts="llamacpp:spec_decode_num_drafts_total",
        draft_tokens="llamacpp:spec_decode_num_draft_tokens_total",
        accepted_tokens="llamacpp:spec_decode_num_accepted_tokens_total",
        accepted_by_position="llamacpp:spec_decode_num_accepted_tokens_per_pos_total",
    )
    ngram: NgramSpace | None = NgramSpace(shortest=(2, 12), longest=(2, 12), draft_tokens=(2, 32), takes_last=True)

    def interpreter(self, named: Path | None) -> Path:
        return program(named, COMMAND)

    def abilities(self, python: Path) -> Abilities:
        version, told = said_by([python, "--version"]), said_by([python, "--help"])
        found = BUILD.search("".join(version)) if version else None
        if found is None or told is None:
            raise EngineError(f"{python} is no {COMMAND}: install llama.cpp, or name it with --engine-python")
        options = "".join(told)
        if "--spec-ngram-simple-size-n" not in options:
            raise EngineError(f"{python} is too old: its options know no --spec-ngram-simple-size-n; b11434 does")
        build, commit = (found[1], found[2]) if found[1] else (found[3], found[4])
        return Abilities(f"b{build}-{commit}", False, frozenset(name for name in METHODS if name in options) | {OFF})

    def abilities_of(self, version: str) -> Abilities:
        return Abilities(version, False, METHODS)

    def words(self, start: Start) -> list[str]:
        if not start.model.endswith(SUFFIX):
            raise EngineError("llama.cpp serves a GGUF file: name it as MODEL, or beside MODEL with --engine-model")
        if start.dtype != "auto":
            raise EngineError(f"llama.cpp takes no --dtype {start.dtype}: a GGUF file has its own")
        found = [str(start.python), "--model", start.model, "--alias", SERVED_NAME, "--offline", "--metrics"]
        found += ["--port", str(start.port), "--host", "127.0.0.1"]
        longest = start.context or start.longest
        cache = start.requests * (longest + ROOM) if longest else 0  # of 0 it takes the model's own
        found += ["--parallel", str(start.requests), "--kv-unified", "--ctx-size", str(cache)]
        return [*found, *option_words(self.configuration(start.setting) or {}), *start.words]

    def request_fields(self, fresh: str) -> dict[str, Any]:
        return {"cache_prompt": False}

    def answer_ids(self, choice: Mapping[str, Any]) -> list[int] | None:
        return None

    def ngram_setting(self, shortest: int, longest: int, draft_tokens: int) -> EngineSetting:
        """N-grams of `longest` tokens, and of no other length."""
        found = {f"spec-{SIMPLE}-size-n": longest, f"spec-{SIMPLE}-size-m": draft_tokens}
        return EngineSetting(method=SIMPLE, parameters=found)

    def ngram_lengths(self, setting: EngineSetting) -> tuple[int, int] | None:
        length = setting.parameters.get(f"spec-{SIMPLE}-size-n")
        return None if length is None else (int(length), int(length))

    def defaults(self, abilities: Abilities) -> Sequence[EngineSetting]:
        if MAP not in abilities.methods:
            return ()
        return [EngineSetting(method=MAP, parameters={f"spec-{MAP}-size-n": 4, f"spec-{MAP}-size-m": 12})]

    def drafts_at(self, setting: EngineSetting, concurrency: int) -> int:
        if setting.is_off:
            return 0
        named = {f"spec-{setting.method}-{end}" for end in ("size-m", "n-max")} | {"spec-draft-n-max"}
        told = [value for name, value in setting.parameters.items() if name in named]
        return int(told[0] if told else OWN_DRAFTS.get(setting.method, 3))

    def configuration(self, setting: EngineSetting) -> dict[str, Any] | None:
        return None if setting.is_off else {"spec-type": setting.method, **setting.parameters}

    def refuses(self, setting: EngineSetting) -> tuple[str, ...]:
        if setting.method != "ngram-mod":
            return ()
        return ("what one user was answered may be drafted for another, who is not shown it",)
