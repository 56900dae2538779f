"""From three models that are submitted at once to texts of servers that fetched their profiles: a hub, a Ray head, two devices."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

import casspec
from casspec.storage.jobs.documents import Job
from tests.casspec.hub.fleet.machines import ROOT, Machines, machines
from tests.runtime.tiny_families import tiny_model
from tests.storage.postgres import postgres_cluster, postgres_programs
from tests.tuner.text_generators import ALPHABET, tokenizer

SMOLLM2 = "CASSPEC_TEST_SMOLLM2"
"""Variable that names a directory with that model; another tiny one stands in for it."""

KINDS = ("left", "right")
LINES = "".join(
    json.dumps({"question_id": n, "category": "letters", "turns": [letter * 3 + "ab" * 9 + letter]}) + "\n"
    for n, letter in enumerate("abcdef")
)


@contextmanager
def hub_of(storage: str, models: Path, cluster: Machines) -> Iterator[str]:
    """The URL of `casspec hub --ray` with models of a directory."""
    command = [sys.executable, "-m", "casspec", "hub", "--port", "0", "--storage", storage, "--ray", cluster.address]
    command += ["--models-in", str(models), "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=cluster.environment, cwd=ROOT) as hub:
        assert hub.stderr is not None
        try:
            yield next(found[0] for line in hub.stderr if (found := re.findall(r"listening at (\S+)", line)))
        finally:
            hub.terminate()
            rest = hub.stderr.read()
            hub.wait(60)
    assert "Traceback" not in rest


def made(family: str, directory: Path) -> str:
    """Name of a tiny random model in a directory."""
    tiny_model(family, vocab_size=len(ALPHABET)).save_pretrained(directory / family)
    tokenizer().save_pretrained(directory / family)
    return family


def watched(hub: casspec.HubClient, job_id: str) -> Job:
    """A job as it ended; what was told of it until then is printed, for a test that fails."""
    last = None
    for last in hub.watch(job_id):
        print(last.request.model, last.status, last.progress.stage, last.progress.done, flush=True)
    assert last is not None
    return last


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[str]:
    programs = postgres_programs()
    if programs is None:
        yield str(tmp_path / "casspec.db")
        return
    with postgres_cluster(programs) as database:
        yield database.new_database()


@pytest.mark.fleet
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'casspec[fleet]'")
def test_three_models_are_calibrated_on_two_devices_and_served_exactly(storage: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    asked = ["reference", made("qwen3", models)]
    if place := os.environ.get(SMOLLM2):
        (models / "smollm2-135m").mkdir()
        for file in Path(place).iterdir():
            (models / "smollm2-135m" / file.name).symlink_to(file.resolve())
        asked.append("smollm2-135m")
    else:
        asked.append(made("llama", models))
    with machines(KINDS, {}) as cluster, hub_of(storage, models, cluster) as url:
        hub = casspec.HubClient(url)
        settings = {"dtype": "float32", "quick": True, "bench": False, "trials": 1, "seconds": 1.0, "max_batch": 1}
        jobs = [hub.submit(model, KINDS[n % 2], LINES, **settings) for n, model in enumerate(asked)]
        with ThreadPoolExecutor(len(jobs)) as pool:
            ended = list(pool.map(lambda job: watched(hub, job.job_id), jobs))
        assert [(job.status, job.message) for job in ended] == [("done", None)] * len(jobs)
        for model, job in zip(asked, ended, strict=True):
            assert any("search begins" in line.text for line in hub.logs(job.job_id))
            target = casspec.load_target(model if model == "reference" else str(models / model), dtype="float32")
            profile = casspec.load_profile(url.replace("http://", "hub://"), target=target)
            assert profile.document is not None
            assert profile.document.content_hash() == job.profile_hash
            ids = target.tokenizer.encode("abcabdabcabd")
            plain = casspec.Decoder(target, method="autoregressive").generate(ids, 40)
            assert casspec.Decoder(target, profile).generate(ids, 40).token_ids == plain.token_ids
