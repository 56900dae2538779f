"""TensorRT-LLM: a YAML file with `speculative_config`, `decoding_type: NGram`."""

from __future__ import annotations

from casspec.storage.export.engine_file import USES, file_text
from casspec.storage.export.exported import Exported
from casspec.storage.export.lookup_settings import LookupSettings, lost_drafters
from casspec.storage.schema import CascadeProfile

WRITTEN_FOR = "1.3"


def export(profile: CascadeProfile) -> Exported:
    """Partial: its pool takes matches of a single token too. Raises UnsupportedOption as LookupSettings does."""
    lookup = LookupSettings.of(profile, "TensorRT-LLM")
    config = {
        "speculative_config": {
            "decoding_type": "NGram",
            "max_draft_len": lookup.n_tokens,
            "max_matching_ngram_size": lookup.max_ngram,
            "is_public_pool": False,
        },
        "disable_overlap_scheduler": True,
    }
    note = (
        f"for TensorRT-LLM {WRITTEN_FOR} and its PyTorch backend, translated: {USES['tensorrt-llm']}. Lost: {lost_drafters(profile)}"
        f"candidate trees, the shortest n-gram ({lookup.min_ngram}), and the choice of draft length at every step; the predicted speedup "
        "of this profile does not hold there. `casspec engine tune tensorrt-llm MODEL` measures TensorRT-LLM itself."
    )
    return Exported(file_text("tensorrt-llm", config), "partial", note)
