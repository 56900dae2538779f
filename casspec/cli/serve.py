"""`casspec serve`: a model for OpenAI's clients, on the profile that fits it."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import say
from casspec.cli.decoder import method_options, profile_with_task
from casspec.cli.listening_options import a_file, amount_option, listening_options
from casspec.cli.options import SectionedCommand, apply_threads, check_device, model_argument

if TYPE_CHECKING:
    from casspec.runtime.decode import Decoder
    from casspec.runtime.model.target import BackendChoice, TargetModel
    from casspec.server.engines import Engines, Methods
    from casspec.server.reload import Reloader
    from casspec.server.service import Service
    from casspec.server.settings import Settings
    from casspec.server.watching.watches import Summaries

GIB, MIB = 1 << 30, 1 << 20

SECTIONS = {
    "Who may ask": ("host", "port", "served_model_name", "api_key", "api_key_file", "admin_key_file"),
    "Bounds": (
        "max_batch",
        "kv_cache_gib",
        "max_queue",
        "max_request_mib",
        "max_prompt_tokens",
        "request_seconds",
        "drain_seconds",
    ),
    "The hub of its profile": ("report_seconds", "poll_seconds", "server_name", "share_traffic"),
    "What is written": ("access_log", "log_prompts", "record_traffic", "record_traffic_mib"),
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@model_argument
@method_options
@click.option(
    "--allow-method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A method that requests may name; may be given several times.  [default: autoregressive, dytc, prompt-lookup, suffix]",
)
@listening_options(8000, "Requests have to bring it; needed beyond this machine.")
@click.option("--served-model-name", metavar="NAME", help="By which requests name the model; by default MODEL.")
@click.option("--admin-key-file", type=a_file, metavar="FILE", help="Keys that also open /admin/reload, one a line.")
@click.option("--max-batch", type=click.IntRange(min=1), default=32, show_default=True, help="Texts at a time.")
@click.option(
    "--kv-cache-gib",
    type=click.FloatRange(min=0, min_open=True),
    metavar="G",
    help="Memory for caches; by default half of what is free.",
)
@click.option("--max-queue", type=click.IntRange(min=0), default=256, show_default=True, help="Texts that may wait.")
@amount_option("--max-request-mib", 8.0, "Size of a request.")
@click.option("--max-prompt-tokens", type=click.IntRange(min=1), metavar="N", help="By default the model's context.")
@amount_option("--request-seconds", 600.0, "Time of a request, waiting included.")
@amount_option("--drain-seconds", 30.0, "What texts under way get to end in after a SIGTERM.", may_be_zero=True)
@click.option(
    "--access-log",
    default="-",
    show_default=True,
    metavar="FILE",
    help="Where a line of JSON a request goes; - is stderr, none is nowhere.",
)
@click.option("--log-prompts", is_flag=True, help="Write prompts and texts into the access log too.")
@click.option(
    "--record-traffic",
    type=a_file,
    metavar="FILE",
    help="Record requests (messages or prompts, options, arrival times, output lengths; no answers) for `casspec calibrate --suite FILE`.",
)
@amount_option("--record-traffic-mib", 64.0, "Most that the file holds: the newest requests.")
@amount_option(
    "--report-seconds",
    60.0,
    "With a profile of a hub: how often the hub is told what was seen of it; 0 is never.",
    may_be_zero=True,
)
@amount_option(
    "--poll-seconds",
    60.0,
    "With a profile of a hub: how often a newer one is looked for; 0 is never.",
    may_be_zero=True,
)
@click.option(
    "--server-name", metavar="NAME", help="In reports to the hub; by default the machine's name and the port."
)
@click.option(
    "--share-traffic",
    is_flag=True,
    help="Send the hub newest requests of --record-traffic when it calibrates for them.",
)
def command(
    model: str,
    profile: str,
    method: str,
    task: str | None,
    device: str,
    dtype: str,
    backend: BackendChoice,
    compiles: bool,
    threads: int | None,
    storage: str | None,
    host: str,
    port: int,
    **options: Any,
) -> None:
    """Serve MODEL to OpenAI's clients until Ctrl-C or SIGTERM.

    The texts are those of plain decoding, whatever the profile and whoever else is served. SIGHUP takes the profile that fits
    now, without losing a request.
    """
    from casspec.server.app import create_app
    from casspec.server.engines import Engines
    from casspec.server.gate.keys import check_host
    from casspec.server.reload import Reloader
    from casspec.server.run import listening, run, url_of
    from casspec.server.service import Service

    options["calibrate_options"] = _calibrate_options(device, dtype, backend, threads, storage, compiles)
    settings = _settings(model, options)
    check_host(host, settings.api_keys)
    _check_sharing(profile, settings, options["share_traffic"])
    check_device(device)

    def prepared(target: TargetModel) -> Methods:
        return _methods(target, settings, profile, method, task, storage)

    def load() -> Engines:
        import casspec

        n_threads = apply_threads(threads)  # of this thread: it is the one that computes
        target = casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
        engines = Engines(prepared(target), settings)
        engines.warm()
        _tell(engines, n_threads, settings)
        return engines

    service = Service(settings, load, _keeper(profile, storage))
    service.when_loaded(lambda: say(service.recorder.keeps) if service.recorder else None)
    reloader = Reloader(service, prepared, say)
    app = create_app(service, None, reloader)
    with _warnings_shown(), listening(host, port) as place, _linked(service, reloader, profile, options, place):
        say(f"listening at {url_of(place)}; loading {model}")
        run(service, app, place, say, reloader.soon)
    say("ended")


def _check_sharing(profile: str, settings: Settings, share: bool) -> None:
    """Raises UnsupportedOption where there are no requests to share, or no hub to share them with."""
    from casspec.profile_lookup import is_hub
    from casspec.storage.errors import UnsupportedOption

    if share and settings.record_traffic is None:
        raise UnsupportedOption("--share-traffic shares what is recorded: give --record-traffic FILE too")
    if share and not is_hub(profile):
        raise UnsupportedOption(
            "--share-traffic shares with the hub of the profile: give --profile hub://HOST:PORT/ALIAS"
        )


def _linked(
    service: Service, reloader: Reloader, profile: str, options: dict[str, Any], place: socket.socket
) -> AbstractContextManager[None]:
    """Reports to the hub and polls it, where the profile is one of a hub. Raises UnsupportedOption for a name that no report takes."""
    from casspec.profile_lookup import is_hub
    from casspec.storage.errors import UnsupportedOption
    from casspec.storage.reports.documents import NAME

    if not is_hub(profile):
        return nullcontext()
    from casspec.server.hub_link.link import HubLink, LinkSettings

    name = options["server_name"] or f"{socket.gethostname()}:{place.getsockname()[1]}"
    if not re.fullmatch(NAME, name):
        raise UnsupportedOption("--server-name takes 1 to 128 characters that can be printed")
    traffic = options["record_traffic"] if options["share_traffic"] else None
    how = LinkSettings(profile, name, options["report_seconds"], options["poll_seconds"], traffic)
    return HubLink(service, reloader, how).running()


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """What the package logs, on stderr."""
    logger, handler = logging.getLogger("casspec"), logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _settings(model: str, options: dict[str, Any]) -> Settings:
    from casspec.server.gate.keys import keys_of
    from casspec.server.settings import METHODS, Settings

    gib, log = options["kv_cache_gib"], options["access_log"]
    admin = keys_of((), options["admin_key_file"], "admin-key")
    return Settings(
        options["served_model_name"] or model,
        methods=options["methods"] or METHODS,
        max_batch=options["max_batch"],
        kv_cache_bytes=None if gib is None else int(gib * GIB),
        max_queue=options["max_queue"],
        max_request_bytes=int(options["max_request_mib"] * MIB),
        max_prompt_tokens=options["max_prompt_tokens"],
        request_seconds=options["request_seconds"],
        api_keys=keys_of(options["api_key"], options["api_key_file"], "api-key"),
        admin_keys=admin,
        drain_seconds=options["drain_seconds"],
        access_log=None if log == "none" else log,
        log_prompts=options["log_prompts"],
        record_traffic=options["record_traffic"],
        record_bytes=int(options["record_traffic_mib"] * MIB),
        model=model,
        calibrate_options=options["calibrate_options"],
    )


def _calibrate_options(
    device: str, dtype: str, backend: str, threads: int | None, storage: str | None, compiles: bool = True
) -> tuple[str, ...]:
    """Options of `casspec calibrate` without which it would make a profile of something else. No storage that holds a password."""
    given: dict[str, tuple[str | int | None, str | None]] = {
        "--device": (device, "cpu"),
        "--dtype": (dtype, "auto"),
        "--backend": (backend, "auto"),
        "--threads": (threads, None),
        "--storage": (None if "@" in (storage or "") else storage, None),
    }
    words = (word for name, (value, usual) in given.items() if value != usual for word in (name, str(value)))
    return (*words, *(() if compiles else ("--no-compile",)))


def _methods(
    target: TargetModel, settings: Settings, profile: str, method: str, task: str | None, storage: str | None
) -> Methods:
    """The methods of a server, on the profile that is asked for or fits now."""
    import casspec
    from casspec.server.engines import Methods
    from casspec.server.reload import check_memory

    loaded = profile_with_task(target, profile, task, storage)
    check_memory(loaded, target)

    def decoder(name: str) -> Decoder:
        return casspec.Decoder(target, loaded, name)

    stored_id = loaded.document.profile_id if loaded is not None and loaded.document is not None else None
    return Methods.of(decoder(method), decoder, settings.methods, stored_id)


def _keeper(profile: str, storage: str | None) -> Callable[[Summaries], None]:
    """Stores what is seen of profiles; of one from a file nothing is stored."""
    from casspec.profile_lookup import is_file
    from casspec.server.watching.summary_store import SummaryStore

    return (lambda summaries: None) if is_file(profile) else SummaryStore(storage).keep


def _tell(engines: Engines, n_threads: int, settings: Settings) -> None:
    """What was loaded."""
    from casspec.server.reload import served

    target = engines.target
    where = f"{n_threads} threads" if target.device.type == "cpu" else str(target.device)
    say(
        f"{target.name}: {target.family}, {target.dtype_name}, {target.backend} backend on {where}; {served(engines.methods)}"
    )
    say(
        f"serving '{settings.model_name}': {settings.max_batch} texts at a time, {settings.max_queue} may wait, "
        f"{engines.total_bytes / GIB:.1f} GiB for caches, contexts of {target.max_context} tokens"
    )
