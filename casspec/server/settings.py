"""How a server was asked to serve: names, bounds, keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from casspec.runtime.watch.traffic import MAX_BYTES

METHODS = ("autoregressive", "dytc", "prompt-lookup", "suffix")
"""What a request may name as its `speculation`, unless said otherwise: none of them holds weights of its own without a profile."""


@dataclass(frozen=True)
class Settings:
    """Of one server.

    Attributes:
        model_name: by which requests name the model. model: as it was named to casspec, where that is another name.
        calibrate_options: of the command that calibrates for what is served.
        methods: that requests may name; "autoregressive" is plain decoding and always one.
        max_batch: texts under way; kv_cache_bytes: for their caches, None for half of what is free; prefill_rows: tokens of prompts that
            are computed in one forward.
        max_queue: texts that wait for their turn; more are refused.
        max_request_bytes, max_prompt_tokens, request_seconds: of one request. None is the model's own context.
        chat_tokens: most tokens of a reply where neither request nor model say.
        api_keys, admin_keys: one of them opens the server; [] for nobody is asked. Admin keys open everything.
        drain_seconds: what texts under way get to end in.
        record_traffic: the file that requests are recorded to, None for none; record_bytes: of it at most.
        access_log: where a line of JSON a request goes, None for nowhere, "-" for stderr; log_prompts: with prompts and texts.
    """

    model_name: str
    methods: tuple[str, ...] = METHODS
    max_batch: int = 32
    kv_cache_bytes: int | None = None
    prefill_rows: int = 128
    max_queue: int = 256
    max_request_bytes: int = 8 << 20
    max_prompt_tokens: int | None = None
    request_seconds: float = 600.0
    chat_tokens: int = 1024
    api_keys: tuple[str, ...] = ()
    admin_keys: tuple[str, ...] = ()
    drain_seconds: float = 30.0
    record_traffic: Path | None = None
    record_bytes: int = MAX_BYTES
    access_log: Path | str | None = "-"
    log_prompts: bool = False
    model: str | None = None
    calibrate_options: tuple[str, ...] = ()
