"""A page as a browser reads it, and a calibration to show on one."""

from __future__ import annotations

from html.parser import HTMLParser

from casspec.storage.schema import BenchReport, CascadeProfile, Precision, Quantization
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.settings import CalibrationSettings
from tests.profiler.fakes import SHAPE
from tests.storage import samples

EMPTY_ELEMENTS = {"meta", "link", "br", "img", "hr"}


class Read(HTMLParser):
    """What a browser would see: elements with their attributes, text, and whether every element was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in EMPTY_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def profile(**changes: object) -> CascadeProfile:
    latency = samples.latency_model().model_copy(
        update={"features": ("constant",), "coefficients": (1.0,), "shape": SHAPE | {"launch_ms": 2.0}}
    )
    return samples.profile(latency=latency, **changes)


def report() -> BenchReport:
    speedups = {"overall": 1.6, "qa": 1.2}
    rows = tuple(
        samples.bench_row(method, task, speedup=speedup if method == "dytc" else 1.0)
        for task, speedup in speedups.items()
        for method in ("autoregressive", "dytc")
    )
    about = {"dtype": "float32", "threads": 2, "command_line": "casspec bench --methods dytc"}
    return samples.bench_report(rows=rows, environment=about)


def history(**changes: object) -> CalibrationHistory:
    int8 = Quantization(precision=Precision.INT8_DYNAMIC)
    return CalibrationHistory(
        profile=profile(**changes),
        calibration_id="0123-1",
        settings=CalibrationSettings(suite="reference", suite_sha256="", seed=3)
        .changed({"search": {"trials": 12}})
        .model_dump(mode="json"),
        candidates=[
            samples.candidate((2,), acceptance=0.6),
            samples.candidate((3,), acceptance=0.5),
            samples.candidate((3,), acceptance=0.7, source="tpe", quantization=int8),
        ],
        samples=[samples.sample(n_tokens) for n_tokens in (1, 2, 4)],
        reports=[report()],
        verdicts={"int8-dynamic": {"reason": "no kernel beats the target's own"}, "int4-weight": {"reason": None}},
    )
