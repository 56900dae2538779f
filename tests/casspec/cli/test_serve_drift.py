"""A server tells that its profile no longer fits, is calibrated on what it recorded, and goes on with what that found."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

import casspec
from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.cli.test_calibrate_families import quick  # noqa: F401
from tests.casspec.cli.test_serve import Command
from tests.runtime.tiny import tiny_profile
from tests.runtime.tiny_families import tiny_model
from tests.tuner.text_generators import ALPHABET, tokenizer

MOST_TEXTS = 400


def a_model(place: Path) -> str:
    tiny_model("llama", vocab_size=len(ALPHABET)).save_pretrained(place)
    tokenizer().save_pretrained(place)
    return str(place)


def stored_profile(directory: str, storage: str) -> CascadeProfile:
    """A profile whose drafters promise what they cannot hold."""
    document = tiny_profile(casspec.load_target(directory, dtype="float32")).document
    assert document is not None
    with open_repository(storage) as repository:
        made = repository.calibration(document.model, document.device, document.dtype, {})
        return repository.save_profile(made.calibration_id, document)


def figures(url: str) -> Any:
    return httpx.get(f"{url}/figures", timeout=60).json()


def drifts(url: str, client: openai.OpenAI) -> list[dict[str, str]]:
    """What is told once there is something to tell."""
    for place in range(MOST_TEXTS):
        prompt = "".join(ALPHABET[(place * 7 + n * n) % len(ALPHABET)] for n in range(20))
        client.completions.create(model="tiny", prompt=prompt, max_tokens=48, temperature=0)
        found: list[dict[str, str]] = figures(url)["drifts"]
        if found:
            return found
    raise AssertionError("nothing was told")


@pytest.mark.slow
def test_drift_is_told_and_ends_with_a_calibration_on_what_was_served(
    quick: None,  # noqa: F811
    tmp_path: Path,
    with_mirror: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory, storage = a_model(tmp_path / "model"), str(with_mirror(tmp_path / "store.db"))
    before, traffic, keys = stored_profile(directory, storage), tmp_path / "traffic.jsonl", tmp_path / "keys"
    keys.write_text("boss", "utf-8")
    command = Command(
        *[directory, "--storage", storage, "--dtype", "float32", "--method", "dytc", "--served-model-name", "tiny"],
        *["--record-traffic", str(traffic), "--admin-key-file", str(keys)],
    )
    try:
        url = command.heard("listening at ").split()[2].rstrip(";")
        command.heard(f"requests are recorded to {traffic}")
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        assert figures(url)["serving"]["profile"]["id"] == before.profile_id
        told = drifts(url, client)
        assert told[0]["run"] == (
            f"casspec calibrate {directory} --dtype float32 --threads 1 --storage {storage} --suite {traffic}"
        )
        assert told[0]["says"] in command.heard("the profile no longer fits")
        assert "casspec:drift{" in httpx.get(f"{url}/metrics").text

        stream = client.completions.create(
            model="tiny", prompt="abc", max_tokens=60, temperature=0, stream=True, extra_body={"ignore_eos": True}
        )
        said = next(stream).choices[0].text
        calibrate = told[0]["run"].split()[1:]
        assert main([*calibrate, "--quick"]) == 0
        capsys.readouterr()
        reloaded = httpx.post(f"{url}/admin/reload", headers={"Authorization": "Bearer boss"}, timeout=120)
        assert reloaded.status_code == 200, reloaded.text
        said += "".join(chunk.choices[0].text for chunk in stream)
        again = client.completions.create(
            model="tiny", prompt="abc", max_tokens=60, temperature=0, extra_body={"ignore_eos": True}
        )
        assert again.choices[0].text == said, "no stream is lost, and the text stays the same"
        now = figures(url)
        assert now["serving"]["profile"]["id"] not in (before.profile_id, None)
        assert now["drifts"] == []
        assert command.ended(signal.SIGTERM) == 0
    finally:
        command.process.kill()
    with open_repository(storage) as repository:
        (seen,) = repository.watched(before.profile_id)
        (after,) = repository.watched(now["serving"]["profile"]["id"])
        suite = repository.profile(now["serving"]["profile"]["id"]).suite
    assert min(seen.tokens, after.tokens) > 0
    assert suite != before.suite
    rows = [json.loads(line) for line in traffic.read_text("utf-8").splitlines()]
    assert all(row["casspec"]["output_tokens"] for row in rows)
