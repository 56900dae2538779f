"""A container's share of the processor is read from either version of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.cli.quota import quota_cores


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/gone\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "many few\n"}, None),
        ("0::/\n", {}, None),
        (
            "4:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            3.0,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("nonsense\n", {"cpu.max": "200000 100000"}, None),
    ],
)
def test_the_least_quota_counts(tmp_path: Path, group: str, files: dict[str, str], cores: float | None) -> None:
    own = tmp_path / "own"
    own.write_text(group, "utf-8")
    assert quota_cores(written(tmp_path / "root", files), own) == cores


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path, tmp_path / "nothing") is None
