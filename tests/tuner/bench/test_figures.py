"""Charts of a benchmark."""

from __future__ import annotations

from pathlib import Path

from casspec.storage.schema import BenchReport
from casspec.tuner.bench.figures import bench_figures, speedup_figure, time_figure, write_figures
from tests.storage.samples import bench_report, bench_row


def report() -> BenchReport:
    speedups = {("prompt-lookup", "tuned"): 1.375, ("dytc", "tuned"): 1.625, ("transformers", "peer"): 0.875}
    rows = tuple(
        bench_row(method, task, variant=variant, speedup=speedup)
        for task in ("completion", "overall")
        for (method, variant), speedup in ({("autoregressive", "published"): 1.0} | speedups).items()
    )
    return bench_report(rows=rows)


def test_figures_draw_every_method(tmp_path: Path) -> None:
    speedups = speedup_figure(report(), "greedy")
    assert [axes.get_title() for axes in speedups.axes] == ["completion", "overall"]
    for axes in speedups.axes:
        assert [bar.get_width() for bar in axes.patches] == [1.0, 1.375, 1.625, 0.875]
    times = time_figure(report(), "greedy")
    (axes,) = times.axes
    assert [group.get_label() for group in axes.containers] == ["draft", "verify", "overhead"]
    assert [label.get_text() for label in axes.get_yticklabels()][1:3] == ["prompt-lookup (tuned)", "dytc (tuned)"]
    files = write_figures(report(), tmp_path / "made")
    assert (
        [file.name for file in files]
        == list(bench_figures(report()))
        == ["bench-speedup-greedy.png", "bench-time-greedy.png"]
    )
    assert all(file.stat().st_size > 0 for file in files)
