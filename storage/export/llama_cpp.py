"""llama.cpp's server: options of its lookup in the text itself, `--spec-type ngram-simple`."""

from __future__ import annotations

from casspec.storage.export.engine_file import USES, file_text
from casspec.storage.export.exported import Exported
from casspec.storage.export.lookup_settings import LookupSettings, lost_drafters
from casspec.storage.schema import CascadeProfile

WRITTEN_FOR = "b11434"


def export(profile: CascadeProfile) -> Exported:
    """Partial: it looks for n-grams of one length, and makes no shorter draft. Raises UnsupportedOption as LookupSettings does."""
    lookup = LookupSettings.of(profile, "llama.cpp")
    config = {
        "spec-type": "ngram-simple",
        "spec-ngram-simple-size-n": lookup.max_ngram,
        "spec-ngram-simple-size-m": max(lookup.n_tokens, lookup.max_ngram),
    }
    note = (
        f"for llama.cpp {WRITTEN_FOR}, translated: {USES['llama.cpp']}. Lost: {lost_drafters(profile)}candidate trees, n-grams shorter "
        f"than {lookup.max_ngram}, and the choice of draft length at every step; the predicted speedup of this profile does not hold. "
        "`casspec engine tune llama.cpp FILE.gguf` measures llama.cpp itself."
    )
    return Exported(file_text("llama.cpp", config), "partial", note)
