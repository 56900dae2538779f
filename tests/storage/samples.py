"""Small documents to store, and strategies that draw arbitrary ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from casspec.storage.schema import (
    AcceptanceCell,
    AcceptancePrior,
    BatchPrediction,
    BenchReport,
    BenchRow,
    CascadeProfile,
    DeviceCeilings,
    DeviceFingerprint,
    DrafterCandidate,
    DrafterSpec,
    LatencyModel,
    LatencyPoint,
    LatencySample,
    Measurement,
    MethodSettings,
    ModelFingerprint,
    Precision,
    Quantization,
    SkipSet,
    TaskCascade,
)

SETTINGS = {"suite": "s" * 64, "seed": 0, "budget_s": 60.0}


def model(**changes: Any) -> ModelFingerprint:
    fields: dict[str, Any] = {
        "name": "tiny",
        "family": "llama",
        "config_sha256": "c" * 64,
        "weights_sha256": "w" * 64,
        "tokenizer_sha256": None,
        "parameters": 1000,
        "n_layers": 8,
        "hidden_size": 16,
        "vocab_size": 32,
        "max_context": 128,
    }
    return ModelFingerprint(**fields | changes)


def device(**changes: Any) -> DeviceFingerprint:
    fields: dict[str, Any] = {
        "kind": "cpu",
        "name": "test processor",
        "capability": "avx512",
        "threads": 2,
        "torch_version": "2.13.0",
    }
    return DeviceFingerprint(**fields | changes)


def ceilings(bandwidth: float = 20.0) -> DeviceCeilings:
    return DeviceCeilings(bandwidth_gb_per_s=bandwidth, matmul_tflops={"float32": 0.5}, launch_us=3.0)


def sample(n_tokens: int = 1, value: float = 2.0, order: int = 0) -> LatencySample:
    point = LatencyPoint(subject="forward", n_attention=8, n_mlp=8, n_tokens=n_tokens, context_tokens=64)
    return LatencySample(point=point, measurement=Measurement(values=(value, value * 1.1, value * 1.2)), order=order)


def latency_model(noise: float = 0.02) -> LatencyModel:
    return LatencyModel(
        features=("constant", "bytes"),
        coefficients=(0.5, 1.5),
        noise=noise,
        shape={"n_layers": 8.0},
        buckets=(1, 8, 32),
        test_retest=0.01,
        cv_median_error=0.03,
        cv_p90_error=0.08,
        n_points=40,
        fitted_context_tokens=(16, 128),
    )


def candidate(
    layers: tuple[int, ...] = (2, 3),
    acceptance: float = 0.6,
    source: str = "uniform",
    quantization: Quantization | None = None,
) -> DrafterCandidate:
    return DrafterCandidate(
        skip=SkipSet(attention=layers, mlp=layers[:1]),
        quantization=quantization or Quantization(),
        source=source,
        acceptance=acceptance,
        cost=0.5,
        step_ms=1.0,
        n_tokens=500,
    )


def profile(**changes: Any) -> CascadeProfile:
    fields: dict[str, Any] = {
        "created_at": "2026-03-01T10:00:00+00:00",
        "casspec_version": "0.1.0",
        "model": model(),
        "device": device(ceilings=ceilings()),
        "dtype": "float32",
        "drafters": (
            DrafterSpec(name="sparse-40", kind="self", skip=SkipSet(attention=(2, 3, 5), mlp=(3,))),
            DrafterSpec(name="prompt-lookup", kind="prompt-lookup"),
        ),
        "latency": latency_model(),
        "acceptance": (AcceptancePrior(mode="greedy", cells=(AcceptanceCell(key="m3", accepted=3, trials=4),)),),
        "methods": (MethodSettings(method="dytc", variant="tuned", parameters={"max_nodes": 16}),),
        "predicted_speedup": {"greedy": 1.5, "sample": 1.4},
        "suite": "reference",
        "seed": 0,
    }
    return CascadeProfile(**fields | changes)


def bench_row(method: str = "dytc", task: str = "overall", **changes: Any) -> BenchRow:
    fields: dict[str, Any] = dict.fromkeys(BenchRow.model_fields, 1.0) | {
        "method": method,
        "variant": "tuned",
        "task": task,
        "mode": "greedy",
        "dtype": "float32",
        "lossless": True,
        "divergences": 0,
        "n_prompts": 4,
        "n_tokens": 512,
    }
    return BenchRow(**fields | changes)


def bench_report(noise: float = 0.01, **changes: Any) -> BenchReport:
    rows = (bench_row("autoregressive"), bench_row(speedup=1.6, mean_acceptance_length=2.4))
    fields: dict[str, Any] = {"created_at": "2026-03-01T11:00:00+00:00", "rows": rows, "environment": {"threads": 2}}
    return BenchReport(noise=noise, **fields | changes)


# ---------------------------------------------------------------------------------------------------------- strategies

layer_tuples = st.lists(st.integers(0, 79), max_size=12).map(tuple)
skip_sets = st.builds(SkipSet, attention=layer_tuples, mlp=layer_tuples)
finite = st.floats(allow_nan=False, allow_infinity=False)
parameter_values = st.one_of(st.booleans(), st.integers(), finite, st.text(max_size=8))
parameter_maps = st.dictionaries(st.text(max_size=8), parameter_values, max_size=4)
quantizations = st.builds(Quantization, precision=st.sampled_from(Precision), extra_bytes=st.integers(0, 2**40))
drafter_specs = st.builds(
    DrafterSpec,
    name=st.text(max_size=8),
    kind=st.sampled_from(["prompt-lookup", "token-recycling", "self"]),
    skip=skip_sets,
    quantization=quantizations,
    parameters=parameter_maps,
)
speedups = st.dictionaries(st.sampled_from(["greedy", "sample"]), finite)
decisions = st.sampled_from(["cascade", "retrieval-only", "off"])
batch_predictions = st.builds(
    BatchPrediction,
    batch=st.integers(1, 64),
    decision=decisions,
    speedup=speedups,
    latencies=st.sampled_from(["measured", "interpolated", "extrapolated"]),
    verified=st.booleans(),
)
task_cascades = st.builds(
    TaskCascade,
    drafters=st.lists(st.text(max_size=8), max_size=2).map(tuple),
    parameters=parameter_maps,
    decision=decisions,
    predicted_speedup=speedups,
)
profiles = st.builds(
    profile,
    drafters=st.lists(drafter_specs, max_size=3).map(tuple),
    suite=st.text(max_size=12),
    seed=st.integers(),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    forwards=st.sampled_from([None, "graphs", "operators"]),
    predicted_speedup=speedups,
    predicted_interval=st.dictionaries(st.sampled_from(["greedy", "sample"]), st.tuples(finite, finite)),
    predicted_by_task=st.dictionaries(
        st.sampled_from(["greedy", "sample"]), st.dictionaries(st.text(max_size=8), finite)
    ),
    predicted_by_batch=st.lists(batch_predictions, max_size=3).map(tuple),
    by_task=st.dictionaries(st.text(max_size=8), task_cascades, max_size=2),
    task_gains=st.dictionaries(st.text(max_size=8), finite, max_size=2),
)
