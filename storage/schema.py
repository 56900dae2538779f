"""The documents that cross floors: frozen, versioned, with one canonical JSON and one content hash each.

Everything casspec learns about a model on a device is one of these. They are what the database stores, what `casspec
export` writes and what the runtime reads. Documents of plans, of latency and of predictions stand in files of their own; whoever is
not one of these files imports them from here. None imports torch or sqlalchemy, so that a serving host can read a profile with the
base install.

Times are milliseconds and sizes bytes throughout; units stand in the names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from casspec.storage.document import SCHEMA_VERSION as SCHEMA_VERSION
from casspec.storage.document import Document, VersionedDocument
from casspec.storage.latency import CandidateErrors as CandidateErrors
from casspec.storage.latency import LatencyKind as LatencyKind
from casspec.storage.latency import LatencyModel as LatencyModel
from casspec.storage.latency import LatencyPoint as LatencyPoint
from casspec.storage.latency import LatencySample as LatencySample
from casspec.storage.latency import LatencyTable as LatencyTable
from casspec.storage.latency import MeasuredPlan as MeasuredPlan
from casspec.storage.latency import Measurement as Measurement
from casspec.storage.plans import Backend as Backend
from casspec.storage.plans import Forwards as Forwards
from casspec.storage.plans import Precision as Precision
from casspec.storage.plans import Quantization as Quantization
from casspec.storage.plans import SkipSet as SkipSet
from casspec.storage.predictions import LEAST_LEAD
from casspec.storage.predictions import BatchPrediction as BatchPrediction
from casspec.storage.predictions import Decision as Decision
from casspec.storage.predictions import Speedups as Speedups
from casspec.storage.predictions import TaskCascade as TaskCascade

Mode = Annotated[Literal["greedy", "sample"], Field(description="decoding mode")]

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

    not_hashed = frozenset({"ceilings", "memory_class"})

    kind: Literal["cpu", "cuda"]
    name: str
    """Processor or GPU model."""
    capability: str
    """Which kernels run: the CUDA compute capability (9.0 is sm_90), or the processor's vector features that matter (avx512_bf16
    amx_int8 ...) with spaces between; "" where nobody knows."""
    threads: int
    """Threads torch uses on a CPU; 0 on CUDA."""
    torch_version: str
    memory_class: int | None = None
    """GiB of a GPU's memory, rounded; None on a CPU, and where an earlier release wrote it."""
    ceilings: DeviceCeilings | None = None


# ------------------------------------------------------------------------------------------------------------ drafters


class DrafterSpec(Document):
    """A drafter the runtime can build: its kind, and for a self-drafter the plan.

    `parameters` are the drafter's own settings (n-gram lengths, tokens drafted ...), plain JSON values.
    """

    name: str
    kind: Literal["prompt-lookup", "token-recycling", "self"]
    skip: SkipSet = SkipSet()
    quantization: Quantization = Quantization()
    parameters: dict[str, int | float | str | bool] = Field(default_factory=dict)

    @property
    def only_skips(self) -> bool:
        """Whether it leaves sub-layers out and computes the others as the target does: layer sparsity alone."""
        return len(self.skip) > 0 and self.quantization.precision is Precision.TARGET


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
    trials_by_depth: tuple[int, ...] = ()
    """Positions that each figure of `acceptance_by_depth` comes from; () where nobody counted them."""
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


# ---------------------------------------------------------------------------------------------------------- acceptance


class AcceptanceCell(Document):
    """One cell of an acceptance prior: trials and accepted of candidate tokens that carried this evidence."""

    key: str
    """Evidence as written by `runtime/decoding/acceptance.py`."""
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


RECYCLING_MATRIX = "recycling-matrix"
"""Artifact of a profile: the matrix that token recycling starts from."""

CASCADE = "dytc"
"""The method that runs the cascade of a profile."""

AUTO = "auto"
"""In place of a method: the one a profile predicts to be fastest, the cascade without a profile."""


class CascadeProfile(VersionedDocument):
    """The outcome of a calibration: what to run on this model and this device. Its JSON is the exchange format."""

    not_hashed = VersionedDocument.not_hashed | {"created_at", "casspec_version"}

    created_at: str
    """UTC, ISO 8601."""
    casspec_version: str
    model: ModelFingerprint
    device: DeviceFingerprint
    dtype: str
    drafters: tuple[DrafterSpec, ...]
    """Self-drafters in the order they joined the cascade, then plans for other methods and single tasks, retrieval last."""
    latency: LatencyModel
    acceptance: tuple[AcceptancePrior, ...]
    methods: tuple[MethodSettings, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    predicted_speedup: dict[str, float] = Field(default_factory=dict)
    """By decoding mode, of `dytc` on the tuning half."""
    predicted_interval: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """By decoding mode, where the speedup would have come to lie with other prompts of the same kind, nine times out of ten."""
    predicted_by_task: dict[str, dict[str, float]] = Field(default_factory=dict)
    """The same by decoding mode and task."""
    predicted_by_batch: tuple[BatchPrediction, ...] = ()
    predicted_of_others: Speedups = Field(default_factory=dict)
    """Of plainer methods as tuned, on the same half."""
    decision: Decision = "cascade"
    by_task: dict[str, TaskCascade] = Field(default_factory=dict)
    """Tasks with a cascade of their own; every other has the one above."""
    task_gains: dict[str, float] = Field(default_factory=dict)
    """By task, how many times faster a cascade of its own is than the one for all, on recordings held out of its choice; {} where
    nobody asked."""
    backend: Backend | None = None
    """What it was measured on; None for the lean forward."""
    forwards: Forwards | None = None
    """How its forwards ran; None for the usual way of its kind of device."""
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

    def fastest(self, mode: str) -> str:
        """The method predicted to decode fastest in a mode: `dytc`, unless a plainer one leads it by more than predictions err."""
        others = self.predicted_of_others.get(mode, {})
        best = max(others, key=others.__getitem__, default=CASCADE)
        leads = best != CASCADE and others[best] >= self.predicted_speedup.get(mode, 1.0) * LEAST_LEAD
        return best if leads else CASCADE

    def settings(self, method: str, variant: str = "tuned") -> dict[str, int | float | str | bool]:
        """Parameters stored for a method, {} when none are."""
        for entry in self.methods:
            if entry.method == method and entry.variant == variant:
                return dict(entry.parameters)
        return {}


# --------------------------------------------------------------------------------------------------------------- bench

OVERALL = "overall"
"""In place of a task: all of them together."""


class BenchRow(Document):
    """One line of a benchmark: a method (variant) on a task; task OVERALL sums all."""

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
    """Every turn of a conversation counts."""
    n_tokens: int
    spread: float
    """Relative spread of the speedup over repeats (half range over median; 0 with one repeat)."""


class BenchText(Document):
    """One prompt decoded by one method: the mean over repeats, and which text it was."""

    method: str
    variant: str
    mode: Literal["greedy", "sample"]
    task: str
    prompt_id: str
    text_sha256: str
    """Of the new token ids as little-endian int32; of the first repeat."""
    n_tokens: float
    verify_steps: float
    decode_ms: float
    """Prefill excluded."""


class BatchRow(Document):
    """A method with many texts at a time, beside plain decoding of the same batch."""

    method: str
    batch: int
    mode: Mode = "sample"
    tokens_per_s: float
    """Of all texts together, median over the rounds."""
    over_plain: float
    """Times those of plain decoding at this size, median of the pairs of a round."""
    least: float
    most: float
    """Of `over_plain`."""
    over_one: float
    """Times the tokens/s of plain decoding of one text."""
    token_ms: float
    """Between the tokens of a text, the mean."""
    predicted: float | None = None
    """Tokens/s that the profile predicts; None where it says nothing."""
    rounds: int


class BenchReport(VersionedDocument):
    """A reproducible benchmark: rows plus the environment they were measured in."""

    created_at: str
    rows: tuple[BenchRow, ...]
    texts: tuple[BenchText, ...] = ()
    """What the rows sum."""
    replayed: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Speedup of dytc that replay predicts of these prompts, by mode and task; {} where nobody replayed them."""
    batches: tuple[BatchRow, ...] = ()
    """Many texts at a time, where that was measured too."""
    noise: float
    """Relative difference of autoregressive against itself in the same run."""
    environment: dict[str, Any]
    """Model, device, library versions, threads, dtype, seed, commit, command line."""
