"""`casspec bench`, run as a user runs it on a tiny model of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casspec.cli.main import main
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.loading.models import load_model
from casspec.runtime.policies import METHODS
from casspec.storage import open_repository
from casspec.storage.errors import CasspecError
from casspec.storage.schema import CascadeProfile, MethodSettings
from tests.runtime.own_methods import Copying, empty_registry
from tests.storage import samples
from tests.tuner.text_generators import TEXTS, library_model, tokenizer

ASSETS = Path(__file__).parents[2] / "assets" / "suites"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("letters")
    library_model().save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return str(directory)


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "suite.jsonl"
    rows = (
        {"question_id": place, "category": task, "turns": [text]} for place, (task, text) in enumerate(TEXTS + TEXTS)
    )
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture
def storage(tmp_path: Path, with_mirror: Callable[[Path], Path]) -> str:
    return str(with_mirror(tmp_path / "store.db"))


@pytest.fixture
def run(model: str, suite: str, storage: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `casspec bench` on the tiny model: (exit code, stdout, stderr)."""

    def command(*words: str, model: tuple[str, ...] = (model,)) -> tuple[int, str, str]:
        common = ("--suite", suite, "--storage", storage, "--threads", "1", "--max-new-tokens", "8")
        code = main(["bench", *model, *common, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def stored_profile(model: str, storage: str, dtype: str = "float32") -> CascadeProfile:
    target = load_model(model, dtype=dtype)
    profile = samples.profile(
        model=model_fingerprint(target),
        device=device_fingerprint("cpu"),
        dtype=dtype,
        drafters=(),
        latency=builtin_latency(target),
        acceptance=(),
        methods=(MethodSettings(method="prompt-lookup", variant="tuned", parameters={"n_tokens": 3}),),
    )
    with open_repository(storage) as repository:
        return repository.save_profile(None, profile)


def document(out: str) -> dict[str, Any]:
    return json.loads(out.splitlines()[-1])


def test_the_table_ends_in_a_line_of_json_and_the_report_is_stored(run: Run, storage: str) -> None:
    code, out, err = run()
    assert code == 0
    assert "built-in priors" in err
    assert "noise" in err
    assert "repetition is the share" in err
    assert "greedy, overall: 4 prompts" in out
    rows = document(out)["rows"]
    assert [row["method"] for row in rows if (row["mode"], row["task"]) == ("greedy", "overall")] == [
        *METHODS,
        "transformers",
        "transformers-prompt-lookup",
        "transformers-early-exit",
    ]
    with open_repository(storage) as repository:
        (report,) = repository.bench_reports()
    assert [row.model_dump(mode="json") for row in report.rows] == rows
    assert report.environment["suite"] == "suite"


def test_formats(run: Run) -> None:
    chosen = ("--methods", "prompt-lookup", "--mode", "sample")
    code, out, _ = run("--format", "json", *chosen)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert {row["mode"] for row in document(out)["rows"]} == {"sample"}
    csv_lines = run("--format", "csv", *chosen)[1].splitlines()
    assert csv_lines[0].startswith("method,variant,task,mode")
    assert len(csv_lines) == 1 + 2 * 3 + 1
    markdown = run("--format", "markdown", *chosen)[1].splitlines()
    assert all(line.startswith("| ") for line in markdown[:-1])
    assert document("\n".join(markdown))["schema"] == 1


def test_a_stored_profile_adds_the_tuned_variants_and_keeps_the_report(run: Run, model: str, storage: str) -> None:
    profile = stored_profile(model, storage)
    chosen = ("--methods", "prompt-lookup,token-recycling,dytc", "--mode", "greedy", "--no-peers", "--prompts", "2")
    code, out, err = run(*chosen)
    assert code == 0
    assert "built-in priors" not in err
    overall = [(row["method"], row["variant"]) for row in document(out)["rows"] if row["task"] == "overall"]
    assert overall == [
        ("autoregressive", "published"),
        ("prompt-lookup", "published"),
        ("prompt-lookup", "tuned"),
        ("token-recycling", "published"),
        ("dytc", "tuned"),
    ]
    assert {row["n_prompts"] for row in document(out)["rows"]} == {1, 2}
    with open_repository(storage) as repository:
        assert len(repository.bench_reports(profile.profile_id)) == 1


def test_the_ablation_switches_each_answer_off(run: Run) -> None:
    code, out, _ = run("--methods", "dytc", "--ablation", "--mode", "greedy", "--prompts", "2", "--no-peers")
    assert code == 0
    rows = json.loads(out.splitlines()[-1])["rows"]
    variants = [row["variant"] for row in rows if row["task"] == "overall" and row["method"] == "dytc"]
    answers = ("leaf", "match", "cost", "rank", "exploration", "any")
    assert variants == ["published", *(f"without {answer}" for answer in answers)]
    assert "dytc (without leaf)" in out


def test_of_all_methods_one_that_cannot_run_here_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casspec.runtime.model.lean.backend.refusal", lambda *_: "no kernel")
    asked = ("--mode", "greedy", "--prompts", "1", "--no-peers")
    code, out, err = run("--methods", "all", *asked)
    assert code == 0
    assert {row["method"] for row in json.loads(out.splitlines()[-1])["rows"]} == {*METHODS} - {"quantised"}
    assert [line for line in err.splitlines() if "quantised is left out" in line]
    code, _, err = run("--methods", "quantised", *asked)
    assert code == 2


def test_check_lossless_judges_in_float32_with_a_profile_of_any_precision(
    run: Run, model: str, storage: str, tmp_path: Path
) -> None:
    stored_profile(model, storage, dtype="bfloat16")
    chosen = ("--methods", "prompt-lookup,layer-sparse,dytc", "--tokens", "120")
    code, out, _ = run("--check-lossless", *chosen, "--json", str(tmp_path / "verdicts.json"))
    assert code == 0
    rows = document(out)["rows"]
    assert all(row["lossless"] and row["n_tokens"] == 120 for row in rows)
    assert ("prompt-lookup", "tuned", "sample") in [(row["method"], row["variant"], row["mode"]) for row in rows]
    assert document(out)["environment"]["dtype"] == "float32"
    assert len(out.splitlines()) == len(rows) + 3
    assert json.loads((tmp_path / "verdicts.json").read_text()) == document(out)


def test_a_check_takes_the_profile_of_its_own_model_and_tells_which(
    run: Run, model: str, storage: str, tmp_path: Path
) -> None:
    profile = stored_profile(model, storage, dtype="bfloat16")
    with open_repository(storage) as repository:  # later, and of another model
        repository.save_profile(None, profile.model_copy(update={"model": samples.model(), "created_at": "2999-01-01"}))
    code, out, err = run("--check-lossless", "--methods", "prompt-lookup", "--tokens", "8", "--mode", "greedy")
    assert code == 0
    assert [row["variant"] for row in document(out)["rows"]] == ["published", "tuned"]
    assert document(out)["environment"]["profile"] == profile.profile_id
    assert f"profile {profile.profile_id}, made in bfloat16" in err


def test_a_report_is_stored_before_anybody_can_stop_reading_it(run: Run, storage: str, monkeypatch) -> None:
    from casspec.tuner.bench import report

    def closed(*_: object) -> None:
        raise CasspecError("nobody reads this any more")

    monkeypatch.setattr(report, "bench_table", closed)
    code, out, _ = run("--methods", "prompt-lookup", "--mode", "greedy", "--no-peers", "--prompts", "2")
    assert (code, out) == (2, "")
    with open_repository(storage) as repository:
        assert len(repository.bench_reports()) == 1


def test_a_failed_check_is_a_failed_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from casspec.tuner.bench.lossless import check as lossless_check

    monkeypatch.setattr(lossless_check, "is_lossless", lambda differences, n_tokens: False)
    code, out, _ = run("--check-lossless", "--tokens", "8", "--methods", "prompt-lookup")
    assert code == 1
    assert "NO" in out


def test_ctrl_c_prints_what_a_check_compared(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from casspec.tuner.bench.lossless import check as lossless_check

    calls = 0

    def interrupted(*words: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        compared(*words)

    compared = lossless_check._compare
    monkeypatch.setattr(lossless_check, "_compare", interrupted)
    code, out, _ = run("--check-lossless", "--tokens", "500", "--methods", "prompt-lookup", "--mode", "greedy")
    assert code == 130
    verdict = document(out)
    assert verdict["environment"]["interrupted"]
    assert 0 < verdict["rows"][0]["n_tokens"] < 500


FEW = ("--methods", "prompt-lookup", "--mode", "greedy", "--no-peers")


def test_a_report_goes_to_a_file_to_charts_and_to_the_mirror(
    run: Run, model: str, storage: str, tmp_path: Path
) -> None:
    file, charts = tmp_path / "made" / "bench.json", tmp_path / "charts"
    code, out, _ = run("--target", model, *FEW, "--json", str(file), "--figures", str(charts), model=())
    assert code == 0
    assert json.loads(file.read_text()) == document(out)
    assert {chart.name for chart in charts.iterdir()} == {"bench-speedup-greedy.png", "bench-time-greedy.png"}
    mirrored = list(Path(storage).with_suffix(".mlflow").rglob("bench.md"))
    assert len(mirrored) == 1


def test_a_tracking_server_that_is_away_costs_one_line(
    run: Run, model: str, storage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, out, _ = run("--target", model, *FEW, model=())
    assert code == 0
    assert document(out)["rows"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "casspec"]
    assert line.startswith(f"MLflow at {url} cannot be used (connection refused)")


def test_ctrl_c_prints_and_stores_what_was_finished(run: Run, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from casspec.tuner.bench import run as benchmark

    texts = 0

    def generate(*words: Any) -> Any:
        nonlocal texts
        texts += 1
        if texts == 5:
            raise KeyboardInterrupt
        return real(*words)

    real = benchmark.generate
    monkeypatch.setattr(benchmark, "generate", generate)
    code, out, err = run(*FEW)
    assert code == 130
    assert "interrupted: the rows hold the prompts that every method had finished" in err
    assert {row["n_prompts"] for row in document(out)["rows"]} == {1}
    with open_repository(storage) as repository:
        assert len(repository.bench_reports()) == 1


def test_spec_bench_questions_run_under_the_tokenizers_chat_template(
    model: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [
        {"question_id": 81 + place, "category": category, "turns": [f"Tell of {category} now", "And again"]}
        for place, category in enumerate(("writing", "math", "coding", "stem"))
    ] + [
        {"question_id": 161 + place, "category": "qa", "turns": [f"Why {'so ' * repeats}blue"], "reference": ["no"]}
        for place, repeats in enumerate((1, 2, 300, 300))
    ]
    file = tmp_path / "question.jsonl"
    file.write_text("\n".join(map(json.dumps, questions)))
    templated = tmp_path / "chatty"
    library_model().save_pretrained(templated)
    chatty = tokenizer()
    chatty.chat_template = "{% for message in messages %}user {{ message['content'] }} {% endfor %}"
    chatty.save_pretrained(templated)
    for name, has_template in ((model, False), (str(templated), True)):
        code, out, err = run(*FEW, "--suite", str(file), model=(name,))
        assert code == 0
        assert {row["task"] for row in document(out)["rows"]} == {"mt_bench", "qa", "overall"}
        turns = {row["task"]: row["n_prompts"] for row in document(out)["rows"]}
        assert turns["mt_bench"] == 2 * document(out)["environment"]["prompts"] - 2, "one of qa, which has one turn"
        assert document(out)["environment"]["chat_template"] is has_template
        assert len(document(out)["environment"]["prompts_left_out"]) == 1
        assert "leave no room for 8 new tokens" in err


def test_as_many_turns_are_decoded_as_are_asked_for_and_long_prompts_cut(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    rows = [{"question_id": n, "category": "qa", "turns": ["Why so", "long " * 70]} for n in range(4)]
    file.write_text("\n".join(map(json.dumps, rows)))
    asked = (*FEW, "--suite", str(file))
    for words, n_prompts, told in (
        (("--turns", "first"), 2, ""),
        ((), 2, "2 later turns of conversations leave no room either"),
        (("--long", "cut"), 4, "cut at the front, to leave room for 8 new tokens: 2 prompts"),
    ):
        code, out, err = run(*asked, *words)
        assert code == 0
        assert {row["n_prompts"] for row in document(out)["rows"]} == {n_prompts}
        assert told in err
        assert "suite 'talks': 4 prompts from Spec-Bench questions (JSONL)" in err
    long = tmp_path / "long.txt.jsonl"
    long.write_text("\n".join(json.dumps({"prompt": "long " * 70}) for _ in range(2)))
    checked = (
        "--methods",
        "prompt-lookup",
        "--mode",
        "greedy",
        "--check-lossless",
        "--tokens",
        "8",
        "--suite",
        str(long),
    )
    code, _, err = run(*checked, "--long", "cut")
    assert code == 0
    assert "cut at the front: 1 prompt" in err
    assert "is shorter than the model's context" in run(*checked)[2]


def test_a_registered_method_is_compared_with_its_published_parameters(run: Run, monkeypatch: Any) -> None:
    empty_registry(monkeypatch).register("copying", Copying)
    code, out, _ = run("--methods", "copying", "--mode", "greedy", "--no-peers")
    assert code == 0
    rows = {(row["method"], row["variant"]) for row in document(out)["rows"]}
    assert rows == {("autoregressive", "published"), ("copying", "published")}
    code, out, _ = run("--methods", "all", "--mode", "greedy", "--check-lossless", "--tokens", "20")
    assert code == 0
    assert "copying" in {row["method"] for row in document(out)["rows"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "magic"), "unknown method 'magic'"),
        (("--max-new-tokens", "4000"), "no prompt leaves room"),
        (("--profile", "0123"), "no profile '0123'"),
        (("--suite", "missing.jsonl"), "no suite at 'missing.jsonl'"),
        (("--device", "tpu"), "is not a device"),
        (("--target", "reference"), "given twice"),
        (("--check-lossless", "--figures", "charts"), "leave one out"),
        (("--check-lossless", "--turns", "all"), "leave --turns out"),
        (("--suite", str(ASSETS / "one_prompt.txt")), "suite 'one_prompt' has no reporting half"),
        (("--suite", str(ASSETS / "sharegpt.json"), "--strict"), "row 2: no question"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
