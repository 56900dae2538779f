"""The page at `/`, shown by a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import httpx2 as httpx
import pytest

from casspec.runtime.batching.draft_switch import Said
from casspec.runtime.watch.drift import Drift
from casspec.server.app import PAGE
from casspec.server.watching.watches import FoundDrift
from tests.casspec.server.serving import Served, profile_of, serving, with_settings

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")


def shown(url: str, place: Path) -> str:
    """The page's document once it has asked for figures."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place}", "--virtual-time-budget=4000"]
    done = subprocess.run([str(BROWSER), *words, "--dump-dom", url], capture_output=True, text=True, timeout=120)
    return done.stdout


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_what_the_server_does(served: Served, tmp_path: Path) -> None:
    served.client().completions.create(model="tiny", prompt=[5, 9, 300] * 5, max_tokens=20)
    document = profile_of().document
    assert document is not None
    page = shown(served.url, tmp_path)
    assert '<h1 id="model">tiny</h1>' in page
    assert re.search(r'id="state" class="ready"[^>]*>ready<', page)
    assert document.profile_id in page
    assert document.model.weights_sha256[:12] in page
    assert re.search(r'id="first">[\d.]+ ms<', page)
    assert re.search(r'id="line" d="M', page)


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_drifts_and_gates(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drift = Drift("acceptance", "int4", "greedy", 0.81, 0.95)
    monkeypatch.setattr(served.service, "drifts", lambda: [FoundDrift(drift, "casspec calibrate tiny --suite FILE")])
    monkeypatch.setattr(served.service, "gates", lambda: [Said(4, "greedy", False, 0.87)])
    page = shown(served.url, tmp_path)
    assert '<section id="drifts" role="alert" class="found">' in page
    assert "acceptance of int4 .81, calibrated .95 in greedy decoding. Run <code>casspec calibrate tiny" in page
    assert re.search(r"<th>4-7</th><td[^>]*>greedy</td><td[^>]*>off</td><td[^>]*>0.87x</td>", page)


@pytest.mark.slow
@needs_browser
def test_a_locked_server_asks_for_a_key(tmp_path: Path) -> None:
    with serving(with_settings(api_keys=("secret",))) as served:
        assert '<form id="ask" class="asked">' in shown(served.url, tmp_path)


def test_nothing_is_loaded_from_elsewhere(served: Served) -> None:
    answer = httpx.get(served.url)
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import|https?://", PAGE.read_text("utf-8"))
