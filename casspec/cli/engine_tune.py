"""`casspec engine tune`: measures an engine with a model on this device, and writes how it speculates best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import messages, say
from casspec.cli.engine_options import Duration, concurrency_option, key_option
from casspec.cli.options import format_option, seed_option, storage_option
from casspec.storage.errors import EngineError

if TYPE_CHECKING:
    from casspec.storage.engines.documents import EngineResult, EngineSetting
    from casspec.tuner.engines.protocol import Abilities, Engine
    from casspec.tuner.engines.tuning.session import Session
    from casspec.tuner.engines.tuning.starting import Starter

ENGINE_NAMES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp")
ANY_PORT = 0


@click.command()
@click.argument("engine_name", metavar="ENGINE", type=click.Choice(ENGINE_NAMES))
@click.argument("model", metavar="MODEL")
@click.option("--suite", "suite_name", metavar="SUITE", help="As of `casspec calibrate`; its tuning half is asked.")
@concurrency_option("1,4", "Requests at a time that the engine is tuned for.")
@click.option(
    "--budget", type=Duration(), default="30m", show_default=True, metavar="TIME", help="Most time: 90s, 30m, 2h."
)
@click.option(
    "--engine-python",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Interpreter of the engine's environment; of llama.cpp its llama-server.  [default: as the command on PATH]",
)
@click.option(
    "--url", metavar="URL", help="An engine that runs, in place of one started here; needs --restart-command."
)
@click.option(
    "--restart-command",
    metavar="COMMAND",
    help="Starts the engine at --url anew, speculating as CASSPEC_SPECULATIVE_CONFIG says (empty: without).",
)
@key_option
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Of an engine started here.  [default: a free one]"
)
@click.option(
    "--engine-model",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="What the engine serves in place of MODEL: the same model in another form, for instance a GGUF file.",
)
@click.option("--dtype", default="auto", show_default=True, help="As the engine spells it.")
@click.option(
    "--max-model-len", type=click.IntRange(min=64), metavar="N", help="Longest text, for an engine started here."
)
@click.option(
    "--engine-arg",
    "words",
    multiple=True,
    metavar="WORD",
    help="Added to the engine's command line; may be given again.",
)
@click.option(
    "--try",
    "tried",
    multiple=True,
    metavar="JSON",
    help="A speculative configuration to measure too, for instance of a draft model or EAGLE heads; may be given several times.",
)
@click.option(
    "--prompts", type=click.IntRange(min=2), default=24, show_default=True, metavar="N", help="Prompts of the suite."
)
@click.option(
    "--tokens", type=click.IntRange(min=8), default=96, show_default=True, metavar="N", help="Most new ones of each."
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="Where the engine runs.  [default: cuda where torch finds it]"
)
@click.option("--force", is_flag=True, help="Measure again although it is stored.")
@click.option(
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the configuration there.",
)
@format_option("table", "json")
@seed_option
@storage_option
def tune(
    engine_name: str,
    model: str,
    suite_name: str | None,
    budget: float,
    url: str | None,
    restart_command: str | None,
    force: bool,
    file: Path | None,
    output_format: str,
    storage: str | None,
    **options: Any,
) -> None:
    """Measure ENGINE with MODEL on this device and find how it speculates best.

    The engine is started a few times, with speculation and without. Whatever is measured is stored at once: after an
    interruption the same command goes on from there. The last line is the configuration, or "off".
    """
    if (url is None) != (restart_command is None):
        raise click.UsageError("--url and --restart-command go together: the command starts the engine at the URL anew")
    if file is not None and not file.parent.is_dir():
        raise click.UsageError(f"{file.parent} is no folder to write into: create it first")
    from casspec.cli.engine_tables import print_result
    from casspec.storage import open_repository
    from casspec.storage.errors import MirrorError
    from casspec.storage.export.engine_file import file_text
    from casspec.storage.export.json_profile import write_whole
    from casspec.storage.folders import user_cache_directory
    from casspec.tuner.engines.known.by_name import engine_named
    from casspec.tuner.engines.tuning.budget import Budget
    from casspec.tuner.engines.tuning.session import Session
    from casspec.tuner.engines.tuning.tune import tune

    engine = engine_named(engine_name)
    time = Budget(budget)
    abilities, python = _abilities(engine, url, options)
    served, subject, workload = _subject(engine_name, model, suite_name, abilities, options)
    folder = user_cache_directory() / "engines" / engine_name / subject.content_hash()[:12]
    starter = _starter(engine, served, abilities, python, url, restart_command, folder, workload.context, options)
    with open_repository(storage) as repository:
        session = Session(engine, abilities, starter, repository.engines, subject, workload, time, folder, say)
        result = tune(session, anew=force)
        print_result(result, output_format)
        messages.print(f"result [bold]{result.result_id}[/bold]", highlight=False)
        if file is not None:
            write_whole(file, file_text(engine_name, result.configuration).encode())
            say(f"wrote {file}")
        try:
            _mirror(session, result, storage)
        except MirrorError as error:
            say(f"{error}; the result is stored here, and the same command tells MLflow again")


def _mirror(session: Session, result: EngineResult, storage: str | None) -> None:
    from casspec.storage.engines.documents import EngineMeasurement
    from casspec.tuner.engines.tuning.session import CONFIRM_KIND
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.engine_runs import engine_children, engine_parent
    from casspec.tuner.mlflow_mirror.mirror import MLflowMirror

    trials = session.store.trials(session.subject_hash)
    measured = session.store.saved(session.subject_hash, CONFIRM_KIND, EngineMeasurement)
    mirror = MLflowMirror(external_databases(storage))
    mirror.mirror_engine(engine_parent(result, trials), engine_children(trials, list(measured.values())))


def _abilities(engine: Engine, url: str | None, options: dict[str, Any]) -> tuple[Abilities, Path | None]:
    """What the installed engine can do, and its interpreter; of one that only runs somewhere what its version says."""
    from dataclasses import replace

    from casspec.tuner.engines.tuning.starting import version_behind

    if url is None:
        python = engine.interpreter(options["engine_python"])
        return engine.abilities(python), python
    version = version_behind(url, options["key"], engine)
    return replace(engine.abilities_of(version), version=version), None


def _subject(
    engine_name: str, model: str, suite_name: str | None, abilities: Abilities, options: dict[str, Any]
) -> tuple[str, Any, Any]:
    """The model's place, what the search is of, and what is asked."""
    from casspec.cli.options import available_cores, chosen_suite
    from casspec.model_names import directory_of
    from casspec.runtime.loading.device import device_fingerprint
    from casspec.runtime.text.chat import has_chat_template
    from casspec.storage.engines.documents import EngineSubject
    from casspec.tuner.engines.identity import served_model
    from casspec.tuner.engines.tuning.workload import workload
    from casspec.tuner.suites.load import load_suite

    directory = directory_of(model) or Path(model).expanduser()
    served = served_model(str(directory.absolute()) if directory.exists() else model, model)
    suite = load_suite(chosen_suite(suite_name, has_chat_template(served.tokenizer)))
    for note in suite.notes:
        say(note)
    context = min(served.fingerprint.max_context, options["max_model_len"] or served.fingerprint.max_context)
    concurrency: tuple[int, ...] = options["concurrency"]
    asked = workload(suite, served.tokenizer, options["prompts"], options["tokens"], context, concurrency)
    subject = EngineSubject(
        model=served.fingerprint,
        device=device_fingerprint(options["device"] or _device(), available_cores()),
        engine=engine_name,
        engine_version=abilities.version,
        dtype=_dtype(options),
        suite=suite.name,
        suite_sha256=suite.content_hash(),
        prompts=len(asked.requests),
        tokens=options["tokens"],
        concurrency=concurrency,
        tried=tuple(map(_setting, options["tried"])),
        words=_words(options),
        seed=options["seed"],
    )
    form = options["engine_model"]
    return served.place if form is None else str(form.absolute()), subject, asked


def _dtype(options: dict[str, Any]) -> str:
    """As the engine spells it; of another form of the model than its own also which."""
    from casspec.tuner.engines.identity import form_name

    form = options["engine_model"]
    return str(options["dtype"]) if form is None else f"{options['dtype']} of {form_name(form)}"


def _words(options: dict[str, Any]) -> tuple[str, ...]:
    """What decides figures on the engine's command line, as vLLM spells it."""
    context = options["max_model_len"]
    return (*((f"--max-model-len={context}",) if context else ()), *options["words"])


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _setting(text: str) -> EngineSetting:
    from casspec.storage.engines.documents import EngineSetting

    try:
        found = json.loads(text)
        return EngineSetting(method=found.pop("method"), parameters=found)
    except (ValueError, LookupError, AttributeError, TypeError):
        raise EngineError(
            f"--try {text!r} is no configuration: expected JSON with a method, and its parameters in the engine's own words"
        ) from None


def _starter(
    engine: Engine,
    place: str,
    abilities: Abilities,
    python: Path | None,
    url: str | None,
    restart_command: str | None,
    folder: Path,
    longest: int,
    options: dict[str, Any],
) -> Starter:
    import os

    from casspec.storage.engines.documents import PLAIN
    from casspec.tuner.engines.process import free_port
    from casspec.tuner.engines.protocol import Start
    from casspec.tuner.engines.tuning.starting import OwnEngine, RestartedEngine

    if url is not None and restart_command is not None:
        return RestartedEngine(engine, url, restart_command, folder, options["key"])
    assert python is not None
    free_port(options["port"])
    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
    start = Start(
        python,
        place,
        PLAIN,
        ANY_PORT,
        options["dtype"],
        abilities,
        context=options["max_model_len"],
        cores=cores,
        words=options["words"],
        requests=max(options["concurrency"]),
        longest=longest,
        folder=folder,
    )
    engine.words(start)  # what it cannot be given is refused before anything starts
    return OwnEngine(engine, start, folder, options["port"])
