"""Exports of a profile: one module a target, each a function `export(profile) -> Exported` that states its fidelity.

An export never pretends: what the other engine cannot express is named in `note`, and a profile of which nothing would
be left is refused with UnsupportedOption. None of these modules needs the database.

`exported.py` is what an export returns. `json_profile.py` is the profile itself, with larger artifacts in files beside it.
`huggingface.py`, `vllm.py`, `sglang.py`, `tensorrt_llm.py` and `llama_cpp.py` write what those engines know of prompt lookup, by
`lookup_settings.py`. `skip_layers.py` reads and writes the files of SWIFT and Draft & Verify. `engine_result.py` writes what another
engine was measured at, `engine_file.py` the text of an engine's file.

Read `exported.py`, then `vllm.py`, the shortest. To add an export, write a module and add it to `MODULES` in this file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from casspec.storage.export.exported import Exported
from casspec.storage.schema import CascadeProfile

MODULES = {
    "json": "casspec.storage.export.json_profile",
    "huggingface": "casspec.storage.export.huggingface",
    "vllm": "casspec.storage.export.vllm",
    "sglang": "casspec.storage.export.sglang",
    "tensorrt-llm": "casspec.storage.export.tensorrt_llm",
    "llama.cpp": "casspec.storage.export.llama_cpp",
    "skip-layers": "casspec.storage.export.skip_layers",
}
"""Where the export of each target lives."""


def exporter(target: str) -> Callable[[CascadeProfile], Exported]:
    """The export function of a target in MODULES."""
    return cast(Callable[[CascadeProfile], Exported], importlib.import_module(MODULES[target]).export)
