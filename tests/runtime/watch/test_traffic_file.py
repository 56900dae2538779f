"""A bounded file of lines that is whole whatever happens, and nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from casspec.runtime.watch import traffic_file
from casspec.runtime.watch.traffic_file import TrafficFile
from casspec.storage.errors import StorageError


def starts_well(line: bytes) -> bool:
    return line.startswith(b"line")


def opened(path: Path, max_bytes: int = 1000) -> TrafficFile:
    return TrafficFile(path, max_bytes, starts_well)


def line(n: int, width: int = 20) -> bytes:
    return f"line {n}".encode().ljust(width - 1, b".") + b"\n"


def numbers(path: Path) -> list[int]:
    return [int(each.split()[1].rstrip(b".")) for each in path.read_bytes().splitlines()]


def test_a_file_is_its_owners_alone_and_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    path.write_bytes(line(0))
    path.chmod(0o644)
    file = opened(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.append([line(1), line(2)]) == 2
    file.close()
    file = opened(path)
    file.append([line(3)])
    file.close()
    assert numbers(path) == [0, 1, 2, 3]


def test_a_new_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        opened(tmp_path / "a").close()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("width", [20, 100, 333])
def test_a_full_file_keeps_its_newest_lines_whole(tmp_path: Path, width: int) -> None:
    path = tmp_path / "a"
    file = opened(path)
    for n in range(200):
        file.append([line(n, width)])
        found = numbers(path)
        assert path.stat().st_size <= 1000
        assert found == list(range(found[0], n + 1))
        if n * width > 1000:
            assert len(found) >= 500 // width
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a"]
    file.close()


def test_a_batch_longer_than_the_file_leaves_its_newest(tmp_path: Path) -> None:
    file = opened(tmp_path / "a")
    file.append([line(n) for n in range(500)])
    assert numbers(tmp_path / "a")[-1] == 499
    assert (tmp_path / "a").stat().st_size <= 1000
    file.close()


def test_a_line_longer_than_half_the_file_is_left_out(tmp_path: Path) -> None:
    file = opened(tmp_path / "a")
    assert file.append([line(1), line(2, 501), line(3)]) == 2
    assert numbers(tmp_path / "a") == [1, 3]
    file.close()


@pytest.mark.parametrize("torn", [b"line 9", b"line " + b"9" * 200_000])
def test_a_line_without_its_end_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(line(0) + line(1) + torn)
    file = opened(path, 1 << 20)
    file.append([line(2)])
    file.close()
    assert numbers(path) == [0, 1, 2]
    path.write_bytes(torn)
    opened(path, 1 << 20).close()
    assert path.read_bytes() == b""


def test_what_cannot_be_recorded_to_is_refused_in_a_line(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("my own\n")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = {
        notes: "something else",
        tmp_path: "directory",
        tmp_path / "no" / "a": "No such",
        pipe: "no ordinary file",
    }
    for path, why in refused.items():
        with pytest.raises(StorageError, match=why) as told:
            opened(path)
        assert "name another" in str(told.value)
        assert "\n" not in str(told.value)
    assert notes.read_text() == "my own\n"


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    file = opened(tmp_path / "a", 100)
    for n in range(20):
        file.append([line(n)])
    with pytest.raises(StorageError, match="another process records"):
        opened(tmp_path / "a")
    file.close()
    opened(tmp_path / "a").close()


def test_where_the_disk_is_full_nothing_of_a_line_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path / "a")
    file.append([line(0)])

    def half(into: int, content: bytes) -> None:
        os.write(into, content[:7])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(traffic_file, "_write", half)
        with pytest.raises(StorageError, match="No space left"):
            file.append([line(1)])
    file.append([line(2)])
    assert numbers(tmp_path / "a") == [0, 2]
    file.close()


ENDLESS = """
import sys
from pathlib import Path
from casspec.runtime.watch.traffic_file import TrafficFile
file, n = TrafficFile(Path(sys.argv[1]), 4000, lambda line: True), 0
while True:
    file.append([f"line {n}".encode().ljust(39, b".") + b"\\n"])
    n += 1
    print(n, flush=True)
"""


def test_a_killed_process_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = 0
        for said in process.stdout:
            told = int(said)
            if told >= 250:
                process.send_signal(signal.SIGKILL)
                break
    opened(path, 4000).close()
    found = numbers(path)
    assert found == list(range(found[0], found[-1] + 1))
    assert found[-1] >= told - 1, "what was told to be on the disk is there"
