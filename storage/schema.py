"""The documents that cross floors: frozen, versioned, with one canonical JSON and one content hash each.

Everything casspec learns about a model on a device is one of these. They are what the database stores, what `casspec
export` writes and what the runtime reads. This module imports neither torch nor sqlalchemy, so that a serving host can
read a profile with the base install.

Times are milliseconds and sizes bytes throughout; units stand in the names.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator

from casspec.storage.document import Document
from casspec.storage.predictions import BatchPrediction, Decision, TaskCascade

SCHEMA_VERSION = 1
"""Version of every document below; raised when a field changes meaning or goes away."""


# --------------------------------------------------------------------------------------------------- what was measured


class ModelFingerprint(Document):
    """Which weights: enough to refuse a profile made for others.

    `name` is what the user typed and is not hashed: the same weights in another directory are the same model.
    """

    not_hashed = frozenset({"name"})

    name: str
    family: str
    """`model_type` of the Hugging Face config: llama, mistral, qwen2, qwen3."""
    config_sha256: str
    weights_sha256: str
    """Hash over the names, shapes and sampled values (as bfloat16) of the tensors, not over the file: the same in
    float32 and bfloat16."""
    tokenizer_sha256: str | None
    parameters: int
    n_layers: int
    hidden_size: int
    vocab_size: int
    max_context: int


class DeviceCeilings(Document):
    """What the device can do at best, measured: stored beside the fingerprint, never hashed into it."""

    bandwidth_gb_per_s: float
    """Bytes read by a large reduction or copy, per second / 1e9."""
    matmul_tflops: dict[str, float]
    """Rate of a large matrix product by dtype name, in 1e12 operations per second (a multiply-add is two)."""
    launch_us: float
    """Time of a smallest kernel call, microseconds."""


class DeviceFingerprint(Document):
    """Which hardware and software: another one means another calibration."""

    not_hashed = frozenset({"ceilings"})

    kind: Literal["cpu", "cuda"]
    name: str
    """Processor or GPU model."""
    capability: str
    """CUDA compute capability, or the processor's vector features that matter (avx512_bf16, amx ...)."""
    threads: int
    """Threads torch uses on a CPU; 0 on CUDA."""
    torch_version: str
    ceilings: DeviceCeilings | None = None


class Measurement(Document):
    """Latency samples of one thing under one condition; raw values kept, so that spread is never lost."""

    unit: Literal["ms"] = "ms"
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def median_ms(self) -> float:
        return self.quantile(0.5)

    @property
    def spread(self) -> float:
        """Interquartile range over the median, a pure number."""
        middle = self.median_ms
        return (self.quantile(0.75) - self.quantile(0.25)) / middle if middle else 0.0

    def quantile(self, q: float) -> float:
        """Linear-interpolated quantile, `q` in [0, 1]."""
        ordered = sorted(self.values)
        if not ordered:
            raise ValueError("a measurement without values has no quantiles")
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


# ------------------------------------------------------------------------------------------------------------ drafters


class SkipSet(Document):
    """Sub-layers that a plan leaves out, 0-based layer indices, sorted and unique (layer sparsity of DSIA)."""

    attention: tuple[int, ...] = ()
    mlp: tuple[int, ...] = ()

    @field_validator("attention", "mlp")
    @classmethod
    def _sorted(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(layers)))

    def __len__(self) -> int:
        return len(self.attention) + len(self.mlp)

    def check(self, n_layers: int) -> Self:
        """Raises ValueError when an index does not exist in a model of `n_layers` layers."""
        for name, indices in (("attention", self.attention), ("mlp", self.mlp)):
            wrong = [i for i in indices if not 0 <= i < n_layers]
            if wrong:
                raise ValueError(
                    f"{name} layers {wrong} do not exist in a model of {n_layers} layers (0..{n_layers - 1})"
                )
        return self


class Precision(StrEnum):
    """How the linears of a plan are computed."""

    TARGET = "target"
    INT8_DYNAMIC = "int8-dynamic"
    """8-bit weights, activations quantised row by row as they come."""
    INT4_WEIGHT = "int4-weight"
    """4-bit weights in groups, activations as they are."""

    @property
    def short(self) -> str:
        """int8 of int8-dynamic."""
        return self.value.partition("-")[0]


class Quantization(Document):
    """Precision of a plan and what it costs in memory beside the target's own weights."""

    precision: Precision = Precision.TARGET
    extra_bytes: int = 0


class DrafterSpec(Document):
    """A drafter the runtime can build: its kind, and for a self-drafter the plan.

    `parameters` are the drafter's own settings (n-gram lengths, tokens drafted ...), plain JSON values.
    """

    name: str
    kind: Literal["prompt-lookup", "token-recycling", "self"]
    skip: SkipSet = SkipSet()
    quantization: Quantization = Quantization()
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)


class DrafterCandidate(Document):
    """One evaluated point of the search: a plan, how often the target agreed with it, and what a step of it costs."""

    skip: SkipSet
    quantization: Quantization = Quantization()
    source: str
    """Where it came from: sensitivity, uniform, import:<name>, tpe ..."""
    acceptance: float
    """Unbiased offline acceptance of one drafted token (algorithms: per-position target rows), in [0, 1]."""
    acceptance_by_depth: tuple[float, ...] = ()
    """Offline acceptance at draft depth 1..k given the plan's own rows since the draft began."""
    acceptance_spread: float = 0.0
    """Standard error of `acceptance` over recordings."""
    cost: float
    """Step time over the target's step time (cost coefficient c), predicted by the latency model."""
    step_ms: float
    n_tokens: int
    """Scored positions."""
    seconds: float = 0.0
    """What the evaluation took."""

    not_hashed = frozenset({"seconds"})


# ------------------------------------------------------------------------------------------------------------- latency


class LatencyPoint(Document):
    """What one latency measurement was taken of; its JSON is the natural key of the stored row.

    `subject`: "attention" or "mlp" (sub-layers of one kind alone, without the head), "drafter" (the whole forward of a
    plan that leaves sub-layers out, over few tokens) or "forward" (a verification: all sub-layers and the head).
    """

    subject: Literal["attention", "mlp", "drafter", "forward"]
    n_attention: int
    n_mlp: int
    """How many sub-layers of each kind ran."""
    precision: Precision = Precision.TARGET
    n_tokens: int
    """Query tokens, before padding to a bucket."""
    context_tokens: int
    """Committed rows attended to."""
    batch: int = 1


class LatencySample(Document):
    """A measured point. `order` is its place in the run, so that drift can be seen."""

    point: LatencyPoint
    measurement: Measurement
    order: int = 0


class LatencyModel(Document):
    """Regression of forward time on roofline features, as plain coefficients, with its cross-validated error.

    time_ms = sum_i coefficients[i] * feature_i(point); `features` names the feature functions of `runtime/latency.py`,
    in order.
    """

    kind: Literal["bayesian-linear"] = "bayesian-linear"
    features: tuple[str, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...] = ()
    """Posterior covariance of the coefficients (same order), for an uncertainty with every prediction."""
    noise: float = 0.0
    """Standard deviation of the relative residual."""
    shape: dict[str, float]
    """What the features need of the model and device: see `runtime/latency.py`."""
    buckets: tuple[int, ...]
    """Padded query lengths a forward runs at."""
    test_retest: float
    """Median relative difference between two measurements of one point."""
    cv_median_error: float
    cv_p90_error: float
    """Relative error on held-out points, cross-validated."""
    n_points: int
    fitted_context_tokens: tuple[int, int]
    """Smallest and largest context in the fit; outside it a prediction is an extrapolation."""


# ---------------------------------------------------------------------------------------------------------- acceptance


class AcceptanceCell(Document):
    """One cell of an acceptance prior: trials and accepted of candidate tokens that carried this evidence."""

    key: str
    """Evidence as written by `runtime/acceptance.py`."""
    accepted: float
    trials: float


class AcceptancePrior(Document):
    """Start values of the online estimators, counted on the tuning half, per decoding mode."""

    mode: Literal["greedy", "sample"]
    cells: tuple[AcceptanceCell, ...] = ()


# ------------------------------------------------------------------------------------------------------------- profile


class Artifact(Document):
    """A larger file that belongs to a profile (a recycling matrix): named by hash, exported beside the JSON."""

    name: str
    sha256: str
    n_bytes: int


class MethodSettings(Document):
    """Parameters of one method: as published, or tuned on the tuning half."""

    method: str
    variant: Literal["published", "tuned"]
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)


class CascadeProfile(Document):
    """The outcome of a calibration: what to run on this model and this device. Its JSON is the exchange format."""

    not_hashed = frozenset({"created_at", "casspec_version"})

    schema_version: Literal[1] = 1
    created_at: str
    """UTC, ISO 8601."""
    casspec_version: str
    model: ModelFingerprint
    device: DeviceFingerprint
    dtype: str
    drafters: tuple[DrafterSpec, ...]
    """The cascade, in order of falling cost; a bottom retrieval drafter last."""
    latency: LatencyModel
    acceptance: tuple[AcceptancePrior, ...]
    methods: tuple[MethodSettings, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    predicted_speedup: dict[str, float] = Field(default_factory=dict)
    """By decoding mode, of `dytc` on the tuning half."""
    predicted_by_task: dict[str, dict[str, float]] = Field(default_factory=dict)
    """The same by decoding mode and task."""
    predicted_by_batch: tuple[BatchPrediction, ...] = ()
    decision: Decision = "cascade"
    by_task: dict[str, TaskCascade] = Field(default_factory=dict)
    """Tasks with a cascade of their own; every other has the one above."""
    task_gains: dict[str, float] = Field(default_factory=dict)
    """By task, how many times faster a cascade of its own is than the one for all, on recordings held out of its choice; {} where
    nobody asked."""
    suite: str
    seed: int

    @property
    def profile_id(self) -> str:
        """First twelve digits of the content hash: what the command line calls the profile's ID."""
        return self.content_hash()[:12]

    @property
    def extra_bytes(self) -> int:
        """Memory of all its plans beside the target's own weights: those of one precision share theirs."""
        plans = [drafter.quantization for drafter in self.drafters]
        return sum({plan.precision: plan.extra_bytes for plan in plans}.values())

    def settings(self, method: str, variant: str = "tuned") -> dict[str, int | float | str | bool]:
        """Parameters stored for a method, {} when none are."""
        for entry in self.methods:
            if entry.method == method and entry.variant == variant:
                return dict(entry.parameters)
        return {}


# --------------------------------------------------------------------------------------------------------------- bench


class BenchRow(Document):
    """One line of a benchmark: a method (variant) on a task; task "overall" sums all."""

    method: str
    variant: str
    task: str
    mode: Literal["greedy", "sample"]
    dtype: str
    speedup: float
    """Sum of autoregressive decode times over sum of this method's, same outputs, prefill excluded."""
    speedup_with_prefill: float
    speedup_specbench: float
    """Ratio of mean per-question tokens/s."""
    tokens_per_second: float
    mean_acceptance_length: float
    acceptance_rate: float
    lossless: bool | None
    """None where exactness was not checked (bfloat16)."""
    divergences: int = 0
    forward_ms: float
    draft_ms: float
    verify_ms: float
    overhead_ms: float
    """Totals over the row's prompts."""
    overhead_percent: float
    overhead_us_per_step: float
    tree_nodes: float
    """Mean nodes a verification, root included."""
    repetition: float
    """Share of generated 8-grams that repeat the output itself."""
    n_prompts: int
    n_tokens: int
    spread: float
    """Relative spread of the speedup over repeats (half range over median; 0 with one repeat)."""


class BenchReport(Document):
    """A reproducible benchmark: rows plus the environment they were measured in."""

    schema_version: Literal[1] = 1
    created_at: str
    rows: tuple[BenchRow, ...]
    noise: float
    """Relative difference of autoregressive against itself in the same run."""
    environment: dict[str, Any]
    """Model, device, library versions, threads, dtype, seed, commit, command line."""


Mode = Annotated[Literal["greedy", "sample"], Field(description="decoding mode")]
