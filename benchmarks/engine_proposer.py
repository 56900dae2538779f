"""casspec's proposer inside vLLM beside vLLM alone and its own n-gram speculation, on prompts whose answers quote them and on others.

    python -m benchmarks.engine_proposer
    python -m benchmarks.engine_proposer --model DIRECTORY --ngram 2:5:4,1:3:8 --quoting 12 --others 60

One server each, loaded one after another. Every prompt is asked of one after the other, in shuffled order, so that ratios are of moments
next to each other. `--check` prompts are asked once more for their tokens: where a greedy text differs from vLLM's own, the gap
between the two tokens is told, in nats. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import json
import os
import random
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.load.asked import FIRST_NUMBER, body, fitting
from benchmarks.load.client import drive
from benchmarks.load.field import Field
from benchmarks.load.servers import HOST, Contender, ServerFailed, Setup, vllm_words
from benchmarks.peers.__main__ import resolve, until_interrupted
from benchmarks.serving import about
from casspec.cli.options import available_cores
from casspec.storage.errors import CasspecError
from casspec.storage.folders import user_cache_directory
from casspec.storage.schema import Mode
from casspec.tuner.engines.asked import CHAT
from casspec.tuner.engines.endpoint import REQUEST_SECONDS
from casspec.tuner.engines.importable import importable
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import Prompt

PLAIN, OURS = "vllm", "casspec"
QUOTING, OTHERS = "quoting", "others"
QUOTING_TASKS = {"chat": ("summarization",), "reference": ("rewrite",)}
"""Tasks whose answers quote the prompt, by suite. Others are all other tasks of the chat suite."""
RESAMPLES = 2000
LOWER, UPPER = 5, 95
NEAR_TIE = 0.5
"""Nats between two tokens of a bfloat16 model that count for a near tie: four steps of a logit between 16 and 32."""


@dataclass(frozen=True)
class Timed:
    """A request. token_ms: from the first part to the last, over the tokens after the first part; request_ms: of the whole."""

    server: str
    group: str
    prompt: str
    round: int
    tokens: int
    token_ms: float
    request_ms: float


@dataclass(frozen=True)
class Ratio:
    """Speed over another server's on the same prompts: of summed times, with the 90 % interval of resampled prompts."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Checked:
    """A greedy text against vLLM's own. gap: nats between the two tokens where they part first; None where they do not."""

    prompt: str
    tokens: int
    parted_at: int | None
    gap: float | None


def speculative(name: str, setting: Mapping[str, Any] | None) -> Contender:
    """A vLLM server, without a prefix cache: rounds ask the same prompts again."""

    def words(python: Path, port: int, setup: Setup) -> list[str]:
        found = [*vllm_words(python, port, setup), "--no-enable-prefix-caching"]
        return found + (["--speculative-config", json.dumps(setting)] if setting else [])

    return Contender(name, "vllm", "/health", words)


def ngram(least: int, most: int, n_tokens: int) -> Contender:
    setting = {"method": "ngram", "prompt_lookup_min": least, "prompt_lookup_max": most}
    return speculative(f"ngram {least}-{most}, {n_tokens}", {**setting, "num_speculative_tokens": n_tokens})


def ours(n_tokens: int) -> Contender:
    setting = {"method": "custom_class", "model": "casspec.engines.vllm.Proposer", "num_speculative_tokens": n_tokens}
    return speculative(OURS, setting)


def chosen_prompts(n_quoting: int, n_others: int, seed: int) -> list[tuple[str, Prompt]]:
    """(group, prompt), quoting and others mixed."""
    groups: dict[str, list[Prompt]] = {QUOTING: [], OTHERS: []}
    for name, tasks in QUOTING_TASKS.items():
        for prompt in load_suite(name).prompts:
            if prompt.task in tasks:
                groups[QUOTING].append(prompt)
            elif name == "chat":
                groups[OTHERS].append(prompt)
    order = random.Random(seed)
    chosen: list[tuple[str, Prompt]] = []
    for group, n in ((QUOTING, n_quoting), (OTHERS, n_others)):
        chosen += [(group, prompt) for prompt in order.sample(groups[group], min(n, len(groups[group])))]
    order.shuffle(chosen)
    return chosen


def measured(
    field: Field, asked: Sequence[tuple[str, Prompt]], mode: Mode, n_tokens: int, rounds: int, order: random.Random
) -> Iterator[Timed]:
    """Every prompt of every server, round by round. Raises ServerFailed."""
    numbers = count(FIRST_NUMBER)
    for which in range(1, rounds + 1):
        for place, (group, prompt) in enumerate(asked, 1):
            names = list(field.servers)
            order.shuffle(names)
            request = {**body(prompt, next(numbers), mode, n_tokens), "ignore_eos": False}
            print(f"round {which}: prompt {place} of {len(asked)}", file=sys.stderr, flush=True)
            for name in names:
                (answer,) = drive(field.servers[name].port, [request], 1).answers
                field.servers[name].check()
                if answer.failure is None and answer.token_ms is not None:
                    yield Timed(name, group, prompt.id, which, answer.tokens, answer.token_ms, answer.request_ms)


def ratio(timed: Sequence[Timed], name: str, other: str, group: str, seed: int = 0) -> Ratio | None:
    """Of the median time a token on each prompt; None where no prompt was answered by both."""
    by_prompt: dict[str, dict[str, list[float]]] = {}
    for each in timed:
        if each.group == group:
            by_prompt.setdefault(each.prompt, {}).setdefault(each.server, []).append(each.token_ms)
    pairs = [
        (np.median(found[name]), np.median(found[other])) for found in by_prompt.values() if {name, other} <= set(found)
    ]
    if not pairs:
        return None
    own, theirs = np.array(pairs).T
    drawn = np.random.default_rng(seed).integers(0, len(own), (RESAMPLES, len(own)))
    resampled = theirs[drawn].sum(1) / own[drawn].sum(1)
    return Ratio(float(theirs.sum() / own.sum()), *(float(each) for each in np.percentile(resampled, (LOWER, UPPER))))


def tokens_of(port: int, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tokens of a greedy answer with the two likeliest at each place."""
    wanted = {**request, "stream": False, "stream_options": None, "logprobs": True, "top_logprobs": 2}
    asked = urllib.request.Request(
        f"http://{HOST}:{port}{CHAT}", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS) as answer:
        found: list[dict[str, Any]] = json.load(answer)["choices"][0]["logprobs"]["content"]
    return found


def compared(prompt: str, plain: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> Checked:
    """Where two texts part, and how near the tokens were there to a tie, as plain decoding saw it."""
    shared = min(len(plain), len(other))
    for place in range(shared):
        if plain[place]["token"] != other[place]["token"]:
            known = {each["token"]: each["logprob"] for each in plain[place]["top_logprobs"]}
            gap = plain[place]["logprob"] - known.get(other[place]["token"], float("-inf"))
            return Checked(prompt, len(plain), place, gap)
    return Checked(prompt, len(plain), None if len(plain) == len(other) else shared, None)


def checks(field: Field, asked: Sequence[tuple[str, Prompt]], n_tokens: int) -> Iterator[Checked]:
    for number, (_, prompt) in enumerate(asked, FIRST_NUMBER):
        request = {**body(prompt, number, "greedy", n_tokens), "ignore_eos": False}
        yield compared(prompt.id, *(tokens_of(field.servers[name].port, request) for name in (PLAIN, OURS)))


def table(timed: Sequence[Timed], names: Sequence[str]) -> list[str]:
    """Lines: tokens/s of each server on each group, and the ratios to plain and of ours to each."""
    lines = [f"{'prompts':<9} {'server':<14} {'n':>4} {'tokens/s':>9}  {'over vllm':<20} casspec over it"]
    for group in (QUOTING, OTHERS):
        for name in names:
            own = [each for each in timed if each.server == name and each.group == group]
            if own:
                speed = sum(each.tokens for each in own) / sum(each.tokens * each.token_ms for each in own) * 1e3
                told = [shown(ratio(timed, *pair, group)) for pair in ((name, PLAIN), (OURS, name))]
                lines.append(f"{group:<9} {name:<14} {len(own):>4} {speed:>9.1f}  {told[0]:<20} {told[1]}")
    return lines


def shown(found: Ratio | None) -> str:
    return f"{found.value:.3f} ({found.lower:.3f}-{found.upper:.3f})" if found else "-"


def verdict(found: Sequence[Checked]) -> str:
    parted = [each for each in found if each.parted_at is not None]
    near = sum(each.gap is not None and each.gap <= NEAR_TIE for each in parted)
    gaps = ", ".join(f"{each.prompt} at {each.parted_at}: {each.gap:.3f}" for each in parted if each.gap is not None)
    return f"{len(found)} greedy texts compared: {len(parted)} part, {near} of them within {NEAR_TIE} nats. {gaps}".rstrip()


def chosen_ngrams(ctx: click.Context, param: click.Parameter, value: str) -> list[Contender]:
    try:
        return [ngram(*(int(number) for number in each.split(":"))) for each in value.split(",") if each]
    except (ValueError, TypeError):
        raise click.BadParameter("expected MIN:MAX:TOKENS,..., for instance 2:5:4,1:3:8") from None


@click.command()
@click.option("--model", default="smollm2", show_default=True, help="A name casspec knows, or a model's directory.")
@click.option(
    "--ngram", "ngrams", default="2:5:4", show_default=True, callback=chosen_ngrams, help="MIN:MAX:TOKENS,..."
)
@click.option("--draft-tokens", type=click.IntRange(min=1), default=12, show_default=True, help="Most of ours.")
@click.option("--quoting", type=click.IntRange(min=1), default=12, show_default=True, help="Prompts quoted by answers.")
@click.option("--others", type=click.IntRange(min=1), default=60, show_default=True, help="Other prompts.")
@click.option("--check", type=click.IntRange(min=0), default=20, show_default=True, help="Prompts compared by tokens.")
@click.option("--mode", type=click.Choice(["greedy", "sample"]), default="greedy", show_default=True)
@click.option("--tokens", type=click.IntRange(min=2), default=96, show_default=True, help="New ones of each, at most.")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--seed", default=0, show_default=True, help="Of the choice and order of prompts, and the order of servers."
)
@click.option("--threads", type=click.IntRange(min=1), help="Of each server; by default all cores available.")
@click.option("--environments", type=click.Path(file_okay=False, path_type=Path), help="Where vLLM is installed.")
def main(
    model: str,
    ngrams: Sequence[Contender],
    draft_tokens: int,
    quoting: int,
    others: int,
    check: int,
    mode: Mode,
    tokens: int,
    rounds: int,
    seed: int,
    threads: int | None,
    environments: Path | None,
) -> None:
    """Measure casspec's proposer inside vLLM beside vLLM's own methods, and print the table."""
    folder = user_cache_directory() / "peers"
    try:
        directory = resolve(model, None, folder / "files").directory
        asked, context = fitted(directory, chosen_prompts(quoting, others, seed), tokens)
    except CasspecError as error:
        raise click.ClickException(str(error)) from None
    cores = sorted(os.sched_getaffinity(0))[: min(threads or available_cores(), available_cores())]
    setup = Setup(directory, context, tuple(cores))
    os.environ["PYTHONPATH"] = str(importable(folder / "casspec-for-engines"))
    os.environ["PYTHONSAFEPATH"] = "1"  # a checkout's own folder holds only a part of the package
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")  # the sources' own folder is of another numba
    contenders = [speculative(PLAIN, None), *ngrams, ours(draft_tokens)]
    names = [each.name for each in contenders]
    timed: list[Timed] = []
    found: list[Checked] = []
    with Field(folder, environments or folder / "environments", setup) as field:

        def work() -> None:
            field.start(contenders)
            if not {PLAIN, OURS} <= set(field.servers):
                return
            for each in field.servers.values():
                drive(each.port, [body(asked[0][1], 0, mode, 8)], 1)
            timed.extend(measured(field, asked, mode, tokens, rounds, random.Random(seed)))
            found.extend(checks(field, asked[:check], tokens))  # afterwards: the class would copy from these answers

        try:
            interrupted = until_interrupted(work)
        except ServerFailed as error:
            raise click.ClickException(str(error)) from None
    for name, reason in field.lost.items():
        print(f"{name} takes no part: {reason}")
    print(*table(timed, names), verdict(found), sep="\n")
    options = {
        "model": model,
        "mode": mode,
        "tokens": tokens,
        "rounds": rounds,
        "seed": seed,
        "draft_tokens": draft_tokens,
    }
    ratios = {
        group: {name: {str(other): _document(ratio(timed, name, other, group)) for other in names} for name in names}
        for group in (QUOTING, OTHERS)
    }
    document = {"schema": 1, "ratios": ratios, "checks": [asdict(each) for each in found], "lost": field.lost}
    document |= {
        "requests": [asdict(each) for each in timed],
        "environment": about("benchmarks.engine_proposer", setup, options),
    }
    print(json.dumps(document))
    sys.exit(130 if interrupted else 0 if timed else 2)


def fitted(directory: Path, asked: Sequence[tuple[str, Prompt]], n_tokens: int) -> tuple[list[tuple[str, Prompt]], int]:
    """Prompts that fit the model's context, and the context the longest needs. Raises SuiteError."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    most = AutoConfig.from_pretrained(directory).max_position_embeddings
    kept, context = fitting([prompt for _, prompt in asked], tokenizer, n_tokens, most)
    return [pair for pair in asked if pair[1] in set(kept)], context


def _document(found: Ratio | None) -> dict[str, float] | None:
    return asdict(found) if found else None


if __name__ == "__main__":
    main()
