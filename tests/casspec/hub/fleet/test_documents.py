from __future__ import annotations

from pathlib import Path

import pytest

from casspec.hub.fleet.documents import crossing
from casspec.storage.database.location import storage_url


@pytest.mark.parametrize(
    "url",
    ["postgresql://casspec:s3cret@db:5433/casspec?sslmode=require", "postgresql://casspec@db/casspec?password=s3cret"],
)
def test_no_password_crosses(url: str) -> None:
    crossed = crossing(url)
    assert "s3cret" not in crossed
    told, own = storage_url(crossed), storage_url(url)
    assert (told.username, told.host, told.port, told.database) == (own.username, own.host, own.port, own.database)
    assert told.query.get("sslmode") == own.query.get("sslmode")


def test_a_socket_and_a_file_cross_as_they_are(tmp_path: Path) -> None:
    assert storage_url(crossing("postgresql://casspec@/db?host=/run/pg")).query["host"] == "/run/pg"
    assert storage_url(crossing(str(tmp_path / "a b.db"))).database == str(tmp_path / "a b.db")
