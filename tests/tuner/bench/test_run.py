"""Benchmarks end to end on a tiny model: protocol, completeness, counted divergences."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from casspec.tuner.bench.entries import method_entries, peer_entries
from casspec.tuner.bench.run import WARM_UP_TOKENS, BenchInterrupted, duration, run_benchmark
from tests.tuner.text_generators import Altered, Scripted, entry, letters_target, prompts, with_wrong_token

N_TOKENS = 16


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return letters_target()


def scripted_report(target: TargetModel, log: list[Any], **options: Any):
    entries = [
        entry("autoregressive", Scripted("autoregressive", 40.0, log)),
        entry("fast", Scripted("fast", 20.0, log)),
        entry("slow", Scripted("slow", 80.0, log), modes=("greedy",)),
    ]
    return run_benchmark(target, prompts(), entries, max_new_tokens=N_TOKENS, **options)


def test_every_method_has_a_row_for_every_task_with_overall_last(target: TargetModel) -> None:
    entries = [*method_entries(target), *peer_entries(target)]
    report = run_benchmark(target, prompts(), entries, max_new_tokens=N_TOKENS)
    expected = [
        (mode, task, generator.method)
        for mode in ("sample", "greedy")
        for task in ("copy", "free", "overall")
        for generator in entries
        if mode in generator.modes
    ]
    assert [(row.mode, row.task, row.method) for row in report.rows] == expected
    assert all(row.lossless is (None if row.variant == "peer" else True) for row in report.rows)
    overall = [row for row in report.rows if row.task == "overall"]
    assert {(row.n_prompts, row.n_tokens) for row in overall} == {(4, 4 * N_TOKENS)}
    assert all(row.speedup == pytest.approx(1.0) for row in report.rows if row.method == "autoregressive")
    assert all(row.overhead_ms > 0 for row in overall)
    assert {"model", "device", "versions", "threads", "dtype", "seed", "commit", "command_line"} <= set(
        report.environment
    )


def test_speedups_follow_the_clock_of_the_decoders(target: TargetModel) -> None:
    report = scripted_report(target, [])
    speedups = {(row.mode, row.method): row.speedup for row in report.rows if row.task == "overall"}
    assert speedups == {
        ("sample", "autoregressive"): 1.0,
        ("sample", "fast"): 2.0,
        ("greedy", "autoregressive"): 1.0,
        ("greedy", "fast"): 2.0,
        ("greedy", "slow"): 0.5,
    }
    assert report.noise == 0.0


@pytest.mark.parametrize("warm", [False, True])
def test_a_task_with_a_cascade_of_its_own_is_decoded_by_that_one(target: TargetModel, warm: bool) -> None:
    log: list[tuple[str, tuple[int, ...], int]] = []
    own = {"copy": Scripted("own", 10.0, log)}
    cascade = replace(entry("dytc", Scripted("for-all", 20.0, log)), by_task=own)
    entries = [entry("autoregressive", Scripted("autoregressive", 40.0, log)), cascade]
    report = run_benchmark(target, prompts(), entries, ("greedy",), N_TOKENS, warm=warm)
    speedups = {row.task: row.speedup for row in report.rows if row.method == "dytc"}
    assert speedups == {"copy": 4.0, "free": 2.0, "overall": pytest.approx(4 * 40 / (2 * 10 + 2 * 20))}
    decoded_by = {(name, len(prompt)) for name, prompt, _ in log if name != "autoregressive"}
    by_length = {len(text.turns[0]): text.task for text in prompts()}
    assert {(name, by_length[length]) for name, length in decoded_by} == {("own", "copy"), ("for-all", "free")}


def test_methods_take_turns_within_every_prompt_in_an_order_fixed_by_the_seed(target: TargetModel) -> None:
    log: list[tuple[str, tuple[int, ...], int]] = []
    scripted_report(target, log, modes=("greedy",), repeats=2)
    counted = [call for call in log[4:] if call[2] == N_TOKENS]  # the first four warm up at full length
    groups = [counted[place : place + 4] for place in range(0, len(counted), 4)]
    assert len(groups) == 2 * len(prompts())
    for group in groups:
        assert Counter(name for name, *_ in group) == {"autoregressive": 2, "fast": 1, "slow": 1}
        assert len({prompt for _, prompt, _ in group}) == 1
    assert len({tuple(name for name, *_ in group) for group in groups}) > 1
    repeated: list[tuple[str, tuple[int, ...], int]] = []
    scripted_report(target, repeated, modes=("greedy",), repeats=2)
    assert repeated == log


def test_every_method_is_warmed_up_on_a_prompt_before_it_is_timed(target: TargetModel) -> None:
    log: list[tuple[str, tuple[int, ...], int]] = []
    scripted_report(target, log, modes=("sample",))
    seen: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for name, prompt, n_tokens in log:
        seen.setdefault((name, prompt), []).append(n_tokens)
    first = log[0][1]
    for (name, prompt), calls in seen.items():
        warm_up = N_TOKENS if prompt == first else WARM_UP_TOKENS
        times = 2 if name == "autoregressive" else 1
        assert calls == [warm_up] * times + [N_TOKENS] * times


def test_a_lossy_decoder_is_caught_in_float32(target: TargetModel) -> None:
    lossy = Altered(Decoder(target, method="prompt-lookup"), with_wrong_token(N_TOKENS - 2))
    entries = [*method_entries(target, methods=[]), entry("lossy", lossy)]
    report = run_benchmark(target, prompts(), entries, ("greedy",), N_TOKENS)
    verdicts = {(row.method, row.task): (row.lossless, row.divergences) for row in report.rows}
    assert verdicts["lossy", "overall"] == (False, 4)
    assert verdicts["lossy", "copy"] == (False, 2)
    assert verdicts["autoregressive", "overall"] == (True, 0)


def test_divergences_below_float32_are_counted_and_listed_with_their_gap() -> None:
    target = letters_target(torch.bfloat16)
    target.rows_are_independent = False
    altered = Altered(Decoder(target, method="autoregressive"), with_wrong_token(5))
    entries = [*method_entries(target, methods=[]), entry("altered", altered)]
    report = run_benchmark(target, prompts(2), entries, ("sample",), N_TOKENS, repeats=2)
    overall = {row.method: row for row in report.rows if row.task == "overall"}
    assert (overall["altered"].lossless, overall["altered"].divergences) == (None, 2)
    assert (overall["autoregressive"].lossless, overall["autoregressive"].divergences) == (None, 0)
    listed = report.environment["divergences"]
    assert [(found["method"], found["prompt_id"], found["place"]) for found in listed] == [
        ("altered", "p0", 5),
        ("altered", "p1", 5),
    ]
    assert all(found["gap"] > 0 for found in listed)
    told_apart = {(one.prompt_id, one.method, one.text_sha256) for one in report.texts}
    assert len(told_apart) == len(report.texts) == 4, (
        "a text is another one than the reference's, and the same in every repeat"
    )


def test_a_later_turn_follows_the_answer_of_the_reference(target: TargetModel) -> None:
    (first, *_) = prompts(1)
    talk = first.model_copy(update={"turns": ("Say it ", "And again ", "Once more ")})
    log: list[tuple[str, tuple[int, ...], int]] = []
    run_benchmark(target, [talk], [entry("autoregressive", Scripted("plain", 1.0, log))], ("greedy",), N_TOKENS)
    read = [target.tokenizer.decode(list(prompt)) for _, prompt, n_tokens in log if n_tokens == N_TOKENS]
    said = "b" * N_TOKENS  # what the script emits; the alphabet knows no line break
    assert list(dict.fromkeys(read)) == [
        "Say it ",
        f"Say it {said}And again ",
        f"Say it {said}And again {said}Once more ",
    ]


def test_a_recorded_answer_stands_in_a_later_turn_whatever_the_reference_says(target: TargetModel) -> None:
    (first, *_) = prompts(1)
    talk = first.model_copy(update={"turns": ("Say it ", "And again "), "answers": ("so ",)})
    log: list[tuple[str, tuple[int, ...], int]] = []
    run_benchmark(target, [talk], [entry("autoregressive", Scripted("plain", 1.0, log))], ("greedy",), N_TOKENS)
    read = [target.tokenizer.decode(list(prompt)) for _, prompt, n_tokens in log if n_tokens == N_TOKENS]
    assert list(dict.fromkeys(read)) == ["Say it ", "Say it so And again "]


def test_prompts_and_turns_without_room_keep_their_last_tokens_where_that_is_asked(target: TargetModel) -> None:
    (first, second) = prompts(2)
    talk = first.model_copy(update={"turns": ("Say it ", "long " * 100 + "end")})
    endless = second.model_copy(update={"turns": ("begin " * 100,)})
    log: list[tuple[str, tuple[int, ...], int]] = []
    entries = [entry("autoregressive", Scripted("plain", 1.0, log))]
    report = run_benchmark(target, [talk, endless], entries, ("greedy",), N_TOKENS, long="cut")
    about = report.environment
    assert (about["prompts_left_out"], about["turns_left_out"], about["prompts_cut"]) == ([], [], ["p1", "p0#1"])
    asked = {target.tokenizer.decode(list(prompt)) for _, prompt, _ in log}
    room = target.max_context - N_TOKENS
    assert asked == {"Say it ", ("long " * 100 + "end")[-room:], ("begin " * 100)[-room:]}


def test_a_turn_without_room_is_named_and_ends_its_conversation(target: TargetModel) -> None:
    (first, second) = prompts(2)
    talk = first.model_copy(update={"turns": ("Say it ", "long " * 100, "Once more ")})
    entries = [entry("autoregressive", Scripted("plain", 1.0, []))]
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int, note: str) -> None:
        seen.append((done, total))

    report = run_benchmark(target, [talk, second], entries, ("greedy",), N_TOKENS, progress=progress)
    assert report.environment["turns_left_out"] == ["p0#1", "p0#2"]
    assert report.environment["prompts_left_out"] == []
    assert [one.prompt_id for one in report.texts] == ["p0", "p1"]
    assert seen[-1] == (6, 6), "two texts, each twice, after a warm-up of both decoders"


def test_texts_add_up_to_the_rows(target: TargetModel) -> None:
    report = scripted_report(target, [], repeats=2)
    for row in report.rows:
        asked = [one for one in report.texts if (one.method, one.mode) == (row.method, row.mode)]
        counted = [one for one in asked if row.task in ("overall", one.task)]
        assert len(counted) == row.n_prompts
        assert sum(one.n_tokens for one in counted) == row.n_tokens
        assert row.mean_acceptance_length == row.n_tokens / sum(one.verify_steps for one in counted)
        assert row.tokens_per_second == pytest.approx(1e3 * row.n_tokens / sum(one.decode_ms for one in counted))


def test_repetition_is_of_the_generated_text_alone(target: TargetModel) -> None:
    report = run_benchmark(target, prompts(1), [entry("autoregressive", Scripted("a", 1.0, []))], max_new_tokens=24)
    assert {row.repetition for row in report.rows} == {1 - 1 / 17}


def test_warm_drafters_learn_from_other_prompts_and_never_from_the_same_one(target: TargetModel) -> None:
    entries = method_entries(target, methods=["token-recycling"])

    def steps(n_prompts: int, **options: Any) -> float:
        report = run_benchmark(target, prompts(n_prompts), entries, ("greedy",), N_TOKENS, **options)
        return next(row.tree_nodes for row in report.rows if (row.method, row.task) == ("token-recycling", "overall"))

    assert steps(1, warm=True, repeats=2) == steps(1)
    assert steps(3, warm=True) > steps(3)


def test_a_decoder_with_memory_emits_the_same_text_in_fewer_steps(target: TargetModel) -> None:
    cold = Decoder(target, method="dytc")
    remembering = cold.with_memory()
    prompt = list(range(20))
    first, again = (remembering.generate(prompt, max_new_tokens=48, temperature=0.7, seed=1) for _ in range(2))
    assert again.token_ids == first.token_ids
    assert again.statistics.verify_steps < first.statistics.verify_steps
    for _ in range(2):
        generation = cold.generate(prompt, max_new_tokens=48, temperature=0.7, seed=1)
        assert generation.statistics.verify_steps == first.statistics.verify_steps


def test_prompts_without_room_are_named_and_none_at_all_is_an_error(target: TargetModel) -> None:
    longest = max(prompts(), key=lambda prompt: len(prompt.text))
    n_tokens = target.max_context - len(longest.text) + 1
    log: list[Any] = []
    entries = [entry("autoregressive", Scripted("a", 1.0, log))]
    report = run_benchmark(target, prompts(), entries, ("greedy",), n_tokens)
    assert report.environment["prompts_left_out"] == [longest.id]
    assert {row.n_prompts for row in report.rows if row.task == "overall"} == {3}
    with pytest.raises(ContextOverflow, match="room for 256 new tokens"):
        run_benchmark(target, prompts(), entries, ("greedy",), target.max_context)


def test_a_model_without_a_tokenizer_is_refused_in_one_line() -> None:
    target = letters_target()
    target.tokenizer = None
    with pytest.raises(UnsupportedOption, match="has no tokenizer"):
        run_benchmark(target, prompts(), [entry("autoregressive", Scripted("a", 1.0, []))])


def interrupting_at(call: int) -> Any:
    def progress(done: int, total: int, note: str) -> None:
        if done == call:
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_keeps_the_rows_of_prompts_that_every_method_finished(target: TargetModel) -> None:
    texts_a_prompt = {"sample": 3, "greedy": 4}  # autoregressive twice, fast, and slow in greedy mode only
    warm_ups = sum(texts_a_prompt.values())
    whole_mode = len(prompts()) * texts_a_prompt["sample"]
    with pytest.raises(BenchInterrupted) as caught:
        scripted_report(target, [], progress=interrupting_at(warm_ups + whole_mode + texts_a_prompt["greedy"] + 2))
    report = caught.value.report
    overall = {(row.mode, row.method): row.n_prompts for row in report.rows if row.task == "overall"}
    assert overall == {
        ("sample", "autoregressive"): 4,
        ("sample", "fast"): 4,
        ("greedy", "autoregressive"): 1,
        ("greedy", "fast"): 1,
        ("greedy", "slow"): 1,
    }
    assert report.environment["interrupted"]
    assert {row.task for row in report.rows if row.mode == "greedy"} == {"copy", "overall"}


def test_ctrl_c_before_anything_was_finished_is_a_plain_one(target: TargetModel) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        scripted_report(target, [], progress=interrupting_at(2))
    assert not isinstance(caught.value, BenchInterrupted)


def test_progress_counts_every_text_and_says_what_is_left(target: TargetModel) -> None:
    told: list[tuple[int, int, str]] = []
    scripted_report(target, [], progress=lambda *words: told.append(words), modes=("greedy",), repeats=2)
    assert [(done, total) for done, total, _ in told] == [(done, 4 + 32) for done in range(1, 37)], (
        "warm-ups among them"
    )
    assert all(note.startswith("greedy, ") and note.endswith(" left") for *_, note in told)
    assert [duration(seconds) for seconds in (0, 89, 120, 7200)] == ["0 s", "89 s", "2 min", "2.0 h"]
