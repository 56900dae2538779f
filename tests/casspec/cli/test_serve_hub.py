"""`casspec serve --profile hub://...`: it reports to the hub, takes what is promoted there, and goes on without it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import openai
import pytest

import casspec
from casspec.storage import open_repository
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.cli.test_serve import Command
from tests.casspec.cli.test_serve_drift import a_model
from tests.casspec.hub.hubs import serving
from tests.runtime.tiny import tiny_profile

PATIENCE = 400
"""Requests, until a report that counts tokens has come."""


def promoted(repository: Repository, directory: str, seed: int) -> CascadeProfile:
    document = tiny_profile(casspec.load_target(directory, dtype="float32"), seed=seed).document
    assert document is not None
    made = repository.calibration(document.model, document.device, document.dtype, {"seed": seed}).calibration_id
    profile = repository.save_profile(made, document)
    repository.finish(made)
    repository.set_alias("production", profile.profile_id)
    return profile


@pytest.mark.slow
def test_a_server_reports_polls_and_outlives_its_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = a_model(tmp_path / "model")
    asked: dict[str, Any] = {"model": "tiny", "prompt": "abc", "max_tokens": 60, "temperature": 0}
    asked["extra_body"] = {"ignore_eos": True}
    with open_repository(str(tmp_path / "hub.db")) as repository:
        old = promoted(repository, directory, 0)
        with serving(repository) as place:
            command = Command(
                *[directory, "--profile", f"{place.replace('http://', 'hub://')}/production", "--dtype", "float32"],
                *["--served-model-name", "tiny", "--method", "dytc", "--server-name", "here"],
                *["--report-seconds", "0.1", "--poll-seconds", "0.1"],
            )
            try:
                url = command.heard("listening at ").split()[2].rstrip(";")
                command.heard("serving 'tiny'")
                client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
                text = client.completions.create(**asked).choices[0].text
                for _ in range(PATIENCE):
                    client.completions.create(**asked)
                    if any(report.summary.tokens for report in repository.reports.latest()):
                        break
                (report,) = repository.reports.latest()
                stream = client.completions.create(**asked, stream=True)
                said = next(stream).choices[0].text
                new = promoted(repository, directory, 5)
                command.heard(f"reload: profile {new.profile_id}")
                said += "".join(chunk.choices[0].text for chunk in stream)
                assert [said, client.completions.create(**asked).choices[0].text] == [text, text]
            except BaseException:
                command.process.kill()
                raise
        try:
            command.heard("polls of the hub: the hub at")
            command.heard("reports to the hub: the hub at")
            assert client.completions.create(**asked).choices[0].text == text
            assert command.ended(signal.SIGTERM) == 0
        finally:
            command.process.kill()
    assert (report.server, report.alias, report.profile_hash) == ("here", "production", old.content_hash())
    assert report.summary.tokens > 0
    told = [line for line in command.said if line.startswith(("polls of the hub", "reports to the hub"))]
    assert len(told) == 2, "a line each"
    assert not any("Traceback" in line for line in command.said)
