"""SGLang: options of its n-gram speculation, `--speculative-algorithm NGRAM`."""

from __future__ import annotations

from casspec.storage.export.engine_file import USES, file_text
from casspec.storage.export.exported import Exported
from casspec.storage.export.lookup_settings import LookupSettings, lost_drafters
from casspec.storage.schema import CascadeProfile

WRITTEN_FOR = "0.5.23"


def export(profile: CascadeProfile) -> Exported:
    """Partial: SGLang copies from all requests' texts, after matches of any length. Raises UnsupportedOption as LookupSettings does."""
    lookup = LookupSettings.of(profile, "SGLang")
    config = {
        "speculative-algorithm": "NGRAM",
        "speculative-num-draft-tokens": lookup.n_tokens + 1,  # the last token of the text is counted
        "speculative-ngram-max-bfs-breadth": 1,  # a chain
    }
    note = (
        f"for SGLang {WRITTEN_FOR}, translated: {USES['sglang']}. Lost: {lost_drafters(profile)}candidate trees, the lengths of "
        "n-grams, and the choice of draft length at every step; the predicted speedup of this profile does not hold there. "
        "`casspec engine tune sglang MODEL` measures SGLang itself."
    )
    return Exported(file_text("sglang", config), "partial", note)
