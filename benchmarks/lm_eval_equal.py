"""Whether lm-eval scores a model served by `casspec serve` as it scores the same model under transformers.

    python -m benchmarks.lm_eval_equal --lm-eval DIRECTORY/bin/lm_eval

Forty questions with four answers each, ranked by log-likelihood, in float32: once through lm-eval's client of completions, once
through its own model. DIRECTORY is a virtual environment with `lm_eval[api,hf]`. Nothing is fetched. The last line of stdout is
one JSON document; the exit code is 1 where an answer or a likelihood differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.load.servers import CONTENDERS, MODEL_NAME, Server, ServerFailed, Setup
from benchmarks.peers.__main__ import resolve
from benchmarks.peers.engines import OFFLINE
from casspec.storage.errors import CasspecError
from casspec.storage.folders import user_cache_directory
from casspec.tuner.engines.process import free_port

TASK = "capitals"
CAPITALS = (
    "France Paris, Italy Rome, Spain Madrid, Germany Berlin, Portugal Lisbon, Austria Vienna, Greece Athens, Poland Warsaw, "
    "Norway Oslo, Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, Ireland Dublin, Hungary Budapest, Belgium Brussels, "
    "Russia Moscow, Ukraine Kiev, Turkey Ankara, Egypt Cairo, Kenya Nairobi, Japan Tokyo, China Beijing, Thailand Bangkok, "
    "Vietnam Hanoi, Iraq Baghdad, Iran Tehran, Lebanon Beirut, Syria Damascus, Cuba Havana, Peru Lima, Chile Santiago, "
    "Colombia Bogota, Ecuador Quito, Canada Ottawa, Australia Canberra, Nepal Kathmandu, Qatar Doha, Bulgaria Sofia, "
    "Romania Bucharest, Serbia Belgrade"
)
CHOICES = 4
TOLERANCE = 5e-4
"""Of a log-likelihood: what float32 sums differ by when another kernel adds them."""
CONTEXT = 2048
CLIENTS = 4
RUN_SECONDS = 900


def questions() -> list[dict[str, Any]]:
    """A capital among those of the countries that follow."""
    pairs = [pair.split() for pair in CAPITALS.split(", ")]
    found = []
    for place, (country, _) in enumerate(pairs):
        choices = [pairs[(place + 7 * each) % len(pairs)][1] for each in range(CHOICES)]
        answer = place % CHOICES
        choices[0], choices[answer] = choices[answer], choices[0]
        found.append({"question": f"The capital of {country} is", "choices": choices, "answer": answer})
    return found


def write_task(folder: Path) -> None:
    """The questions, and the document by which lm-eval finds them. JSON is YAML."""
    data = folder / f"{TASK}.jsonl"
    data.write_text("".join(f"{json.dumps(each)}\n" for each in questions()), encoding="utf-8")
    document = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / f"{TASK}.yaml").write_text(json.dumps(document), encoding="utf-8")


def scored(command: Path, folder: Path, name: str, model: Sequence[str]) -> tuple[float, list[float]]:
    """Accuracy, and the log-likelihood of every answer of every question. Raises ClickException where lm-eval fails."""
    output = folder / name
    words = [str(command), "run", "--tasks", TASK, "--include_path", str(folder), "--output_path", str(output)]
    variables = {**os.environ, **OFFLINE, "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    log = folder / f"{name}.log"
    with log.open("wb") as said:
        done = subprocess.run(
            [*words, "--log_samples", *model], env=variables, stdout=said, stderr=said, timeout=RUN_SECONDS
        )
    if done.returncode:
        raise click.ClickException(f"lm-eval failed with {name}: {log.read_text('utf-8').strip().splitlines()[-1]}")
    result = json.loads(next(output.rglob("results_*.json")).read_text("utf-8"))
    samples = [json.loads(line) for line in next(output.rglob("samples_*.jsonl")).read_text("utf-8").splitlines()]
    samples.sort(key=lambda each: int(each["doc_id"]))
    likelihoods = [float(response[0]) for each in samples for response in each["filtered_resps"]]
    return result["results"][TASK]["acc,none"], likelihoods


@click.command()
@click.option("--model", default="smollm2", show_default=True, help="A name casspec knows, or a model's directory.")
@click.option("--lm-eval", "command", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--storage", envvar="CASSPEC_STORAGE", help="Database of profiles.")
def main(model: str, command: Path, storage: str | None) -> None:
    """Score both ways and compare."""
    try:
        directory = resolve(model, None, user_cache_directory() / "peers" / "files").directory
    except CasspecError as error:
        raise click.ClickException(str(error)) from None
    cores = tuple(sorted(os.sched_getaffinity(0)))
    setup = Setup(directory, CONTEXT, cores, "float32", None, storage)
    contender, port = CONTENDERS["casspec"], free_port()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        write_task(folder)
        words = contender.words(Path(sys.executable), port, setup)
        with Server(words, {}, folder / "server.log", port, contender.ready) as server:
            try:
                server.wait_until_ready()
            except ServerFailed as error:
                raise click.ClickException(f"casspec serve {error}") from None
            client = (
                f"model={MODEL_NAME},base_url={server.url}/v1/completions,tokenizer={directory},max_length={CONTEXT}"
            )
            client += f",tokenizer_backend=huggingface,tokenized_requests=True,num_concurrent={CLIENTS},max_retries=1"
            served = scored(command, folder, "served", ["--model", "local-completions", "--model_args", client])
        own = f"pretrained={directory},dtype=float32"
        local = scored(command, folder, "local", ["--model", "hf", "--model_args", own, "--device", "cpu"])
    apart = max(abs(one - other) for one, other in zip(served[1], local[1], strict=True))
    equal = served[0] == local[0] and apart <= TOLERANCE
    print("| scored by | accuracy |\n|---|--:|")
    print(f"| casspec serve, local-completions | {served[0]:.4f} |\n| transformers, hf | {local[0]:.4f} |")
    print(f"log-likelihoods of {len(local[1])} answers differ by at most {apart:.2g}")
    about = {"model": model, "dtype": "float32", "questions": len(local[1]) // CHOICES}
    row = {"served": served[0], "local": local[0], "largest_difference": apart, "equal": equal}
    print(json.dumps({"schema": 1, "rows": [row], "environment": about}))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
