"""`casspec calibrate` on a suite of every shape, as a user runs it on a tiny model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import casspec
from casspec.cli.main import main
from casspec.runtime.text.chat import chat_ids
from casspec.runtime.watch.traffic import RecordedRequest, TrafficRecorder
from casspec.storage import open_repository
from casspec.tuner import settings as tuner_settings
from casspec.tuner.recordings.stage import stored_recordings
from casspec.tuner.settings import QUICK, CalibrationSettings
from casspec.tuner.suites.load import load_suite
from tests.tuner.text_generators import library_model, tokenizer

ASSETS = Path(__file__).parents[2] / "assets" / "suites"
SUITES = sorted(ASSETS.iterdir())
TEMPLATE = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"


@pytest.fixture
def model(tmp_path: Path) -> str:
    directory = tmp_path / "letters"
    library_model().save_pretrained(directory)
    chatty = tokenizer()
    chatty.chat_template = TEMPLATE
    chatty.save_pretrained(directory)
    return str(directory)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--quick`, quicker: what is measured of this model says nothing anyway."""
    less = {
        "profile": {"seconds": 0.05, "rounds": 1, "max_context": 128},
        "record": {"prompts": 2, "tokens": 8},
        "cascade": {"probed_recordings": 1, "probed_steps": 2, "tuning_seconds": 0.1},
        "bench": {"prompts": 1, "tokens": 4, "batches": ()},
    }
    monkeypatch.setattr(tuner_settings, "QUICK", {**QUICK, **less})


@pytest.mark.slow
def test_a_suite_of_every_shape_is_calibrated_with_its_later_turns(
    model: str, quick: None, tmp_path: Path, with_mirror: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = str(with_mirror(tmp_path / "store.db"))
    common = ["calibrate", model, "--quick", "--trials", "1", "--max-drafters", "0", "--threads", "1", "--batch", "1"]
    recorded: dict[str, set[str]] = {}
    for suite in SUITES:
        asked = [*common, "--storage", storage, "--suite", str(suite), "--turns", "all"]
        assert main(asked) == 0
        told = capsys.readouterr().err
        assert f"suite '{suite.name.partition('.')[0]}': " in told
        with open_repository(storage) as repository:
            profile = repository.profile("latest")
            calibration_id, stored = repository.calibration_of(profile.content_hash())
            recorded[suite.name] = {prompt for prompt, _ in stored_recordings(repository, calibration_id)}
        settings = CalibrationSettings.of_stored(stored)
        assert (settings.suite, settings.record.turns, settings.record.long) == (str(suite), "all", "skip")
        assert main(asked) == 0
        assert "answered from the store" in capsys.readouterr().err
    assert recorded["openai_messages.jsonl"] == {"2", "2#1"}
    assert recorded["sharegpt.json"] == {"c1", "c1#1"}
    assert recorded["openai_batch.jsonl"] == {"a1"}


def test_other_turns_and_long_prompts_are_another_calibration(
    model: str, quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, storage = str(ASSETS / "openai_messages.jsonl"), str(tmp_path / "store.db")
    shutil.copytree(model, tmp_path / "copy")
    asked = ["calibrate", str(tmp_path / "copy"), "--quick", "--suite", suite, "--storage", storage, "--dry-run"]
    for words, told in (([], "2 prompts"), (["--turns", "all"], "with all turns"), (["--long", "cut"], "2 prompts")):
        assert main([*asked, *words]) == 0
        printed = capsys.readouterr()
        assert told in printed.out + printed.err
    assert len({settings_of(words) for words in ({}, {"turns": "all"}, {"long": "cut"})}) == 3


def settings_of(record: dict[str, str]) -> str:
    usual = CalibrationSettings(suite="a", suite_sha256="b")
    return usual.changed({"record": record}).content_hash()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prompts_one_bad_row.jsonl", "row 3: no prompt"),
        ("sharegpt.json", "row 2: no question"),
        ("semicolons.csv", "row 3: empty prompt"),
    ],
)
def test_a_strict_suite_has_no_row_that_cannot_be_used(model: str, name: str, message: str, tmp_path, capsys) -> None:
    asked = ["calibrate", model, "--suite", str(ASSETS / name), "--storage", str(tmp_path / "a.db"), "--dry-run"]
    assert main([*asked, "--strict"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "Writing" not in line]
    assert line.endswith(f"{name}, {message}")
    assert main(asked) == 0


@pytest.mark.slow
def test_requests_that_a_server_recorded_are_calibrated_on(
    model: str, quick: None, tmp_path: Path, with_mirror: Callable[[Path], Path]
) -> None:
    traffic, target = tmp_path / "traffic.jsonl", casspec.load_target(model)
    decoder, recorder = casspec.Decoder(target, method="autoregressive"), TrafficRecorder(traffic)
    for arrived_at, said in enumerate(("the cat saw the cat", "one two one two", "jump over lazy dogs", "pack my box")):
        messages = [{"role": "user", "content": said}]
        answer = decoder.generate(chat_ids(target.tokenizer, messages), max_new_tokens=5, temperature=0.7, seed=1)
        options = {"temperature": 0.7, "max_tokens": 5}
        recorder.record(RecordedRequest(float(arrived_at), len(answer.token_ids), messages=messages, options=options))
    recorder.close()
    storage = str(with_mirror(tmp_path / "store.db"))
    asked = ["calibrate", model, "--quick", "--trials", "1", "--max-drafters", "0", "--threads", "1"]
    assert main([*asked, "--suite", str(traffic), "--storage", storage]) == 0
    with open_repository(storage) as repository:
        profile = repository.profile("latest")
        calibration_id, _ = repository.calibration_of(profile.content_hash())
        recorded = {prompt for prompt, _ in stored_recordings(repository, calibration_id)}
    assert profile.suite == "traffic"
    assert len(recorded) == 2
    assert recorded <= {prompt.id for prompt in load_suite(traffic).prompts}
