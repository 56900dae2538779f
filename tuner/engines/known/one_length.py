"""What engines have in common that draft as many tokens whatever the number of requests, and take no class of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from casspec.storage.engines.documents import EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.protocol import Start


class OneLength:
    """Parts of `casspec.tuner.engines.protocol.Engine`."""

    name: str

    def probe_setting(self, draft_tokens: int) -> EngineSetting | None:
        """None."""
        return None

    def by_batch(self, setting: EngineSetting, lengths: Mapping[int, int]) -> EngineSetting:
        """Raises EngineError: abilities say that it cannot."""
        raise EngineError(f"{self.name} drafts as many tokens for any number of requests")

    def variables(self, start: Start) -> dict[str, str]:
        """The model hub is left alone where the model is here."""
        found = {"TOKENIZERS_PARALLELISM": "false"}
        if Path(start.model).exists():
            found |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        return {name: value for name, value in found.items() if name not in os.environ}
