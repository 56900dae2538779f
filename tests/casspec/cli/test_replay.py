"""`casspec replay` as a user runs it, on a tiny calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn

import pytest

import casspec
from casspec.cli.main import main
from casspec.runtime.model.plan import Plan
from casspec.storage import open_repository
from casspec.storage.errors import UnknownModel, UnsupportedOption
from casspec.storage.schema import CascadeProfile
from casspec.tuner.bench.run import BenchInterrupted
from casspec.tuner.recordings.plan_traces import TraceShelf
from casspec.tuner.replay import texts as replay_texts
from casspec.tuner.replay.texts import ReplayTexts
from tests.storage import samples
from tests.tuner.small_calibration import SUITE, small_target
from tests.tuner.stored import stored_calibration

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, CascadeProfile]:
    database = str(tmp_path_factory.mktemp("replay") / "casspec.db")
    return database, stored_calibration(database)


@pytest.fixture
def loads() -> list[str]:
    """Names of the models that were loaded."""
    return []


@pytest.fixture
def run(finished, loads, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `casspec replay` on the profile of the tiny calibration: (exit code, stdout, stderr)."""
    database, _ = finished

    def load(name: str, **options: str):
        loads.append(name)
        return small_target()

    monkeypatch.setattr(casspec, "load_target", load)
    monkeypatch.setattr(replay_texts, "load_suite", lambda name: SUITE)

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["replay", "--storage", database, "--threads", "1", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_the_switch_of_forwards_reaches_the_model(run: Run, monkeypatch) -> None:
    asked: list[object] = []

    def load(name: str, **options: object) -> NoReturn:
        asked.append(options["compiles"])
        raise UnknownModel("seen enough")

    monkeypatch.setattr(casspec, "load_target", load)
    for words in ((), ("--no-compile",), ("--compile",)):
        assert run("--methods", "prompt-lookup", *words)[0] == 2
    assert asked == [True, False, True]


def document(out: str) -> dict:
    return json.loads(out)


def test_the_model_is_loaded_once_and_never_again_for_what_is_stored(run: Run, loads, finished) -> None:
    words = ("--methods", "prompt-lookup,vertical,dytc", "--format", "json")
    code, first, _ = run(*words)
    assert code == 0
    assert loads == [finished[1].model.name]
    loads.clear()
    code, second, _ = run(*words)
    assert (code, loads) == (0, [])
    assert document(first) == document(second)


def test_rows_cover_methods_tasks_and_modes_and_bounds_are_bounds(run: Run) -> None:
    code, out, _ = run("--methods", "prompt-lookup,token-recycling,dytc", "--half", "tuning", "--format", "json")
    assert code == 0
    found = document(out)
    rows = {(row["method"], row["mode"], row["task"]): row for row in found["rows"]}
    tasks = {*SUITE.tasks, "overall"}
    methods = ("prompt-lookup", "token-recycling", "dytc")
    assert set(rows) == {(m, mode, task) for m in methods for mode in ("sample", "greedy") for task in tasks}
    assert rows["prompt-lookup", "sample", "overall"]["variant"] == "tuned"
    for bound in found["bounds"]:
        dytc = rows["dytc", bound["mode"], bound["task"]]
        assert 1 <= bound["menu"] <= bound["clairvoyant"]
        assert bound["reached"] == pytest.approx(dytc["speedup"] / bound["menu"])
    assert found["environment"]["status"] == "predicted"
    assert found["gaps"] == []


def test_a_few_prompts_of_the_tuning_half_are_of_all_tasks(run: Run) -> None:
    words = ("--methods", "prompt-lookup", "--half", "tuning", "--mode", "greedy", "--prompts", "2", "--format", "json")
    code, out, _ = run(*words)
    assert code == 0
    n_prompts = {row["task"]: row["n_prompts"] for row in document(out)["rows"]}
    assert n_prompts == {**dict.fromkeys(SUITE.tasks, 1), "overall": 2}


def test_latencies_of_another_model_are_refused(run: Run, finished) -> None:
    database, profile = finished
    other = profile.model_copy(update={"model": samples.model(name="wider")})
    with open_repository(database) as repository:
        other_id = repository.save_profile(None, other).profile_id
    code, out, err = run("--profile", profile.profile_id, "--latency", other_id)
    with open_repository(database) as repository:
        repository.delete_profile(other_id)
    assert (code, out) == (2, "")
    assert "holds latencies of 'wider'" in err
    assert len(err.strip().splitlines()) == 1


def test_batches_are_marked_predicted(run: Run) -> None:
    words = ("--methods", "token-recycling", "--mode", "greedy", "--half", "tuning", "--format", "json")
    speedup = {}
    for batch, status in (("1", "predicted"), ("16", "predicted; `casspec bench --batch` measures")):
        code, out, _ = run(*words, "--batch", batch)
        assert code == 0
        found = document(out)
        assert found["environment"]["status"] == status
        speedup[batch] = found["rows"][-1]["speedup"]
    assert speedup["16"] != speedup["1"], "forwards of that batch were looked up"


def test_a_real_decode_of_the_same_prompts_stands_beside_the_replay(run: Run, finished) -> None:
    code, out, _ = run("--methods", "prompt-lookup,token-recycling", "--verify", "--format", "json")
    assert code == 0
    gaps = document(out)["gaps"]
    assert gaps == document(out)["gaps_of_same_texts"], "float32: the text is the recorded one"
    assert {(gap["method"], gap["mode"]) for gap in gaps if gap["task"] == "overall"} == {
        (method, mode) for method in ("prompt-lookup", "token-recycling") for mode in ("sample", "greedy")
    }
    for gap in gaps:
        assert gap["predicted_length"] == gap["measured_length"], "float32: equal texts, equal steps"
        assert gap["length_gap"] == 0
    with open_repository(finished[0]) as repository:
        (report,) = repository.bench_reports(finished[1].profile_id)
    assert report.replayed == {}, "dytc was not among them"
    code, table, _ = run("--methods", "prompt-lookup")
    assert code == 0
    assert "replay and reality on the same prompts" in table, "found again in the store"


def test_an_interrupted_decode_tells_what_it_had(run: Run, monkeypatch) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise BenchInterrupted(samples.bench_report(environment={"interrupted": True}))

    monkeypatch.setattr(ReplayTexts, "decoded", interrupted)
    code, out, err = run("--methods", "prompt-lookup", "--verify")
    assert code == 130
    assert "clairvoyant" in out
    assert "speedup over autoregressive decoding" in out
    assert "--prompts N takes less time" in err
    assert "replay and reality" not in out


def test_of_all_methods_one_that_cannot_be_replayed_here_is_left_out(run: Run, monkeypatch) -> None:
    def refuse(shelf: TraceShelf, plan: Plan, *_: object) -> NoReturn:
        raise UnsupportedOption(f"no kernel for {plan.name}")

    monkeypatch.setattr(TraceShelf, "_trace", refuse)
    words = ("--half", "tuning", "--mode", "greedy", "--prompts", "1")
    code, out, err = run(*words, "--format", "json")
    assert code == 0
    replayed = {row["method"] for row in document(out)["rows"]}
    assert {"prompt-lookup", "suffix", "token-recycling"} <= replayed
    assert "layer-sparse" not in replayed
    assert "left out: layer-sparse, no kernel for" in err
    assert run(*words, "--methods", "layer-sparse")[0] == 2


def test_dytc_is_also_decoded_as_it_was_replayed(run: Run, finished) -> None:
    code, out, _ = run("--methods", "dytc", "--prompts", "2", "--verify", "--format", "json")
    assert code == 0
    overall = [gap for gap in document(out)["gaps"] if gap["task"] == "overall"]
    assert {(gap["variant"], gap["mode"]) for gap in overall} == {
        (variant, mode) for variant in ("tuned", "as calibrated") for mode in ("sample", "greedy")
    }
    for gap in overall:
        if gap["variant"] == "as calibrated":
            assert gap["length_gap"] == 0
    with open_repository(finished[0]) as repository:
        kept = repository.bench_reports(finished[1].profile_id)[0].replayed
    assert all(kept[gap["mode"]]["overall"] == gap["predicted_speedup"] for gap in overall)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--methods", "swift"), "'swift' cannot be replayed"),
        (("--methods", "nonsense"), "unknown method 'nonsense'"),
        (("--profile", "beef"), "no profile"),
        (("unheard-of",), "no profile is stored for 'unheard-of'"),
        (("--verify", "--batch", "2"), "--verify decodes one sequence"),
        (("--latency", "beef"), "no profile"),
        (("--methods", "autoregressive"), "no method is named besides autoregressive"),
    ],
)
def test_bad_input_gets_one_line_that_says_what_to_do(run: Run, words, told) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1
