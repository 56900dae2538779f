"""`casspec models`: which model families are decoded, by which backend, which are refused and why; and what one model is like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from casspec.cli.console import output, say
from casspec.cli.options import adapter_option, format_option, run_options, set_up

if TYPE_CHECKING:
    from casspec.runtime.model.target import BackendChoice, TargetModel


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the model families that are covered and those that are refused, or check one model."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@command.command("list")
@format_option("table", "json")
def list_(output_format: str) -> None:
    """List families by what runs their forwards, and those that are refused with the reason."""
    from casspec.runtime.model.generic.families import TESTED
    from casspec.runtime.model.generic.refusals import BY_NAME
    from casspec.runtime.model.lean.families import FAMILIES

    lean, generic = sorted(FAMILIES), sorted(TESTED - FAMILIES.keys())
    if output_format == "json":
        click.echo(json.dumps({"lean": lean, "generic": generic, "refused": dict(sorted(BY_NAME.items()))}, indent=2))
        return
    by_reason: dict[str, list[str]] = {}
    for family, reason in BY_NAME.items():
        by_reason.setdefault(reason, []).append(family)
    _print_families("lean: a forward of ours, the fastest", lean)
    _print_families("generic, tested: the library's own layers", generic)
    _print_families("generic, experimental: every other decoder that passes the checks at load", [])
    for reason, families in by_reason.items():
        _print_families(f"refused: {reason}", sorted(families))
    say("`casspec models check MODEL` tells which one a model is, and what its calibration takes")


def _print_families(title: str, families: list[str]) -> None:
    from rich.padding import Padding

    output.print(title, markup=False, style="bold")
    if families:
        output.print(Padding(", ".join(families), (0, 0, 0, 2)))


@command.command()
@click.argument("model")
@adapter_option
@run_options
@format_option("table", "json")
def check(
    model: str,
    device: str,
    dtype: str,
    backend: BackendChoice,
    compiles: bool,
    threads: int | None,
    output_format: str,
) -> None:
    """Load MODEL, compare its forwards over a tree of drafts with the library's own, and tell what was found.

    MODEL is a local directory, a GGUF file, a name on the model hub, or one of casspec's own. Told too are the time and
    the memory that a calibration will take.
    """
    set_up(device, threads)

    import casspec

    target = casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
    found = _found(target)
    if output_format == "json":
        click.echo(json.dumps(found, indent=2))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, told in _told(target, found):
        table.add_row(name, told)
    output.print(table)


def _found(target: TargetModel) -> dict[str, Any]:
    """What the checks and a few forwards say of a model."""
    from dataclasses import asdict

    from casspec.runtime.latency.features import QUANTISED
    from casspec.runtime.model.row_check import rows_are_independent
    from casspec.tuner.calibration.forecast import forecast
    from casspec.tuner.settings import QUICK, CalibrationSettings

    usual = CalibrationSettings(suite="", suite_sha256="")
    expected, quick = forecast(target, usual), forecast(target, usual.changed(QUICK))
    refusals = {str(precision): target.refusal(precision) for precision in QUANTISED}
    errors = target.tree_errors()
    return {
        "model": target.name,
        "family": target.family,
        "backend": target.backend,
        "native": target.is_native,
        "experimental": target.is_experimental,
        "not_lean_because": target.lean_refusal,
        "dtype": target.dtype_name,
        "layers": target.n_layers,
        "parameters": target.parameter_count,
        "context_tokens": target.max_context,
        "windows": list(target.windows),
        "cached_bytes_per_token": target.cached_bytes,
        "sub_layers_apart": target.is_separable,
        "precisions": [name for name, reason in refusals.items() if reason is None],
        "precisions_refused": {name: reason for name, reason in refusals.items() if reason is not None},
        "errors": asdict(errors),
        "passed": errors.are_small,
        "told": errors.told(),
        "rows_independent": rows_are_independent(target),
        "token_ms": expected.token_ms,
        "tokens_16_ms": expected.together_ms,
        "calibration_seconds": expected.seconds,
        "calibration_quick_seconds": quick.seconds,
        "calibration_bytes": expected.n_bytes,
    }


def _told(target: TargetModel, found: dict[str, Any]) -> list[tuple[str, str]]:
    """The same for a reader."""
    windows = [window for window in target.windows if window is not None]
    sees = (
        f"{len(windows)} of {target.n_layers} layers see {' or '.join(f'{size:,}' for size in sorted(set(windows)))} tokens, "
        "the others all"
        if windows
        else "every layer sees all tokens"
    )
    refused: dict[str, list[str]] = {}
    for name, why in found["precisions_refused"].items():
        refused.setdefault(why, []).append(name)
    precisions = [", ".join(found["precisions"])] * bool(found["precisions"])
    precisions += [f"no {' or '.join(names)}: {why}" for why, names in refused.items()]
    backend, compiled = {
        "lean": ("lean: a forward of ours", "compiled for this processor"),
        "generic": ("generic: the library's own layers", "their linears compiled for this processor"),
    }[target.backend]
    rows = [
        ("model", f"{target.name}: {target.family}, {target.n_layers} layers, {target.parameter_count / 1e6:,.1f} million "
         f"parameters, {target.dtype_name}"),
        ("backend", f"{backend}, {compiled}" if target.is_native else backend),
        ("why not lean", str(target.lean_refusal)),
        ("why not compiled", str(None if target.device.type == "cuda" else target.native_refusal)),
        ("tested", "experimental: it passes the checks, no release is tested with it" if target.is_experimental else "yes"),
        ("context", f"{target.max_context:,} tokens, {target.cached_bytes:,} bytes each in the cache; {sees}"),
        ("sub-layers", "left out one by one" if target.is_separable else "left out by whole layers only"),
        ("precisions", "\n".join(precisions)),
        ("checks", ("passed: " if found["passed"] else "FAILED: ") + found["told"]),
        ("rows", "a token's result does not depend on the tokens beside it" if found["rows_independent"]
         else "a token's last bits depend on the tokens beside it: in 16 bits near ties fall either way"),
        ("forward", f"{found['token_ms']:.3g} ms for one token, {found['tokens_16_ms']:.3g} ms for 16"),
        ("calibration", f"about {found['calibration_seconds']:,.0f} s, with --quick {found['calibration_quick_seconds']:,.0f} s; "
         f"{found['calibration_bytes'] / 2**20:,.0f} MiB beside the weights at most"),
    ]  # fmt: skip
    return [row for row in rows if not row[0].startswith("why not") or row[1] != "None"]
