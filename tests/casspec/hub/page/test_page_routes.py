from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from casspec.hub.page.page_routes import FOLDER, KINDS
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import client_of

FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in KINDS)


def test_the_page_may_load_nothing_from_elsewhere_and_nothing_inline(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=", answer.text)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_handed_out_and_names_no_other_place(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.headers["content-type"].startswith(KINDS["." + name.partition(".")[2]])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", answer.text)


@pytest.mark.parametrize("name", [one for one in FILES if one.endswith(".js")])
def test_no_script_writes_markup(name: str) -> None:
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", (FOLDER / name).read_text()
    )


@pytest.mark.parametrize("name", ["page_routes.py", "..%2fapp.py", "%2e%2e/app.py", "none.js", "%2fetc%2fpasswd"])
def test_nothing_else_is_handed_out(client: TestClient, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_the_files_are_open_where_the_hub_wants_a_key(repository: Repository) -> None:
    client = client_of(repository, api_keys=("secret",))
    assert client.get("/").status_code == 200
    assert client.get("/page/hub.js").status_code == 200
    assert client.get("/v1/matrix").status_code == 401
