"""The generation config for transformers."""

from __future__ import annotations

from pathlib import Path

from casspec.storage.export import exporter
from tests.storage import samples


def test_generation_config_is_understood_by_transformers(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    (tmp_path / "generation_config.json").write_text(exporter("huggingface")(samples.profile()).text)
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.prompt_lookup_num_tokens, config.max_matching_ngram_size) == (10, 3)
