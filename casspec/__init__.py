"""casspec: calibrate a language model once per device, then decode it faster, losslessly, without training.

The public API, stable from 0.1 on. Everything is imported on first use, so that `import casspec` costs nothing.

`api.py` has the public functions. `profile_lookup.py` finds profiles, `known_models.py` remembers fingerprints of models,
`transformers_bridge.py` runs a cascade inside `generate`, `library_request.py` reads what that prepared. `model_names.py` has the names
of models that casspec brings: `testbed.py` makes the bundled one wider, `smollm2.py` fetches another, `dithered.py` takes that off its
4-bit grid; `whole.py` is how any of them appears on disk.
`cli/` has the commands (`__main__.py` is `python -m casspec`), `server/` and `hub/` what answers over HTTP, `reference/` the bundled model.

To add a public function, edit `api.py` and `__all__` below; to add the name of a model, `model_names.py`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casspec.api import Decoder, Generation, custom_generate, load_profile, load_target, methods, register_method
    from casspec.hub.client import HubClient

__all__ = [
    "Decoder",
    "Generation",
    "HubClient",
    "__version__",
    "custom_generate",
    "load_profile",
    "load_target",
    "methods",
    "register_method",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version("casspec")
    if name == "HubClient":
        return import_module("casspec.hub.client").HubClient
    if name in __all__:
        return getattr(import_module("casspec.api"), name)
    raise AttributeError(f"module 'casspec' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
