"""Another profile without a restart: no stream is lost, and a broken one changes nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.server.engines import Methods
from casspec.server.errors import ApiError
from casspec.server.reload import Reloader, check_memory, served
from casspec.storage.errors import ProfileMismatch, UnsupportedOption
from tests.casspec.server.serving import Served, alone, profile_of, serving, target_of, with_settings
from tests.runtime.tiny import tiny_profile

LONG: dict[str, Any] = {"model": "tiny", "prompt": [5, 9, 300], "max_tokens": 300, "extra_body": {"ignore_eos": True}}


def on_loop(running: Served, prepare: Any, said: list[str]) -> Any:
    """Reloads on the server's own loop, as its route does."""
    reloader = Reloader(running.service, prepare, said.append)
    loop = running.service.steps._loop
    return lambda: asyncio.run_coroutine_threadsafe(reloader.reload(), loop).result(30)


def other_methods(target: Any) -> Methods:
    profile = tiny_profile(target_of(), seed=5)
    return Methods.of(
        Decoder(target, profile), lambda name: Decoder(target, profile, name), ("autoregressive", "suffix")
    )


def test_a_stream_goes_on_over_a_reload_and_new_requests_run_on_the_new_profile() -> None:
    said: list[str] = []
    with serving() as running:
        stream = running.client().completions.create(**LONG, stream=True)
        text = next(iter(stream)).choices[0].text
        before = httpx.get(f"{running.url}/figures").json()["serving"]["profile"]["id"]
        line = on_loop(running, other_methods, said)()
        after = httpx.get(f"{running.url}/figures").json()["serving"]["profile"]["id"]
        text += "".join(chunk.choices[0].text for chunk in stream)
        assert text == alone([5, 9, 300], max_new_tokens=300, ignore_eos=True).text
        assert before == profile_of().document.profile_id != after  # type: ignore[union-attr]
        assert after in line
        assert said == [line]
        answer = running.client().completions.create(model="tiny", prompt=[5, 9, 300], max_tokens=8)
        assert answer.choices[0].text == alone([5, 9, 300], max_new_tokens=8).text


@pytest.mark.parametrize("error", [ProfileMismatch("another\nmodel"), RuntimeError("kaput")])
def test_a_profile_that_cannot_be_used_changes_nothing_and_says_one_line(error: Exception) -> None:
    said: list[str] = []

    def broken(target: Any) -> Methods:
        raise error

    with serving() as running:
        with pytest.raises(ApiError, match="stays as it was"):
            on_loop(running, broken, said)()
        assert len(said) == 1
        assert "\n" not in said[0]
        assert running.client().completions.create(model="tiny", prompt="x", max_tokens=2).usage.completion_tokens == 2


def test_a_profile_that_is_not_found_any_longer_stays() -> None:
    def without(target: Any) -> Methods:
        return Methods(Decoder(target, None), {})

    with serving() as running, pytest.raises(ApiError, match="none that fits is found"):
        on_loop(running, without, [])()


def test_the_route_wants_the_admin_key() -> None:
    with serving(with_settings(api_keys=("user",), admin_keys=("boss",)), prepare=other_methods) as running:
        for key, status in [("user", 401), ("boss", 200)]:
            answer = httpx.post(f"{running.url}/admin/reload", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
    with serving(prepare=other_methods) as running:
        assert httpx.post(f"{running.url}/admin/reload").status_code == 403


def test_drafters_that_do_not_fit_are_refused_before_they_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    document = SimpleNamespace(
        profile_id="abc",
        drafters=[SimpleNamespace(kind="self", quantization=SimpleNamespace(precision="int8"))],
    )
    target: Any = SimpleNamespace(
        device=None, is_prepared=lambda precision: False, extra_bytes=lambda precision: 100 << 20
    )
    monkeypatch.setattr("casspec.server.reload.free_bytes", lambda device: 110 << 20)
    with pytest.raises(UnsupportedOption, match="100 MiB beside the model and 110 MiB"):
        check_memory(LoadedProfile(document), target)  # type: ignore[arg-type]
    target.is_prepared = lambda precision: True
    check_memory(LoadedProfile(document), target)  # type: ignore[arg-type]
    check_memory(None, target)


def test_what_is_served_is_told_in_a_line() -> None:
    assert served(other_methods(target_of())).startswith("profile ")
    plain = Decoder(target_of(), None, "suffix")
    assert served(Methods(plain, {})) == "no profile, greedy by suffix, sampling by suffix"
