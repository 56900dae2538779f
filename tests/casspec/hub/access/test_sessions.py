from __future__ import annotations

from dataclasses import dataclass

from casspec.hub.access.sessions import LIFE_S, MOST, MOST_OF_ONE, Sessions


@dataclass
class FakeClock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_session_is_found_by_its_cookie_until_it_ends() -> None:
    sessions = Sessions()
    cookie, session = sessions.begin("token")
    assert sessions.find(cookie) == session
    assert session.csrf not in (cookie, sessions.begin("token")[1].csrf)
    for other in (None, "", "x", session.csrf, "\udcff"):
        assert sessions.find(other) is None
    sessions.end(cookie)
    sessions.end(None)
    assert sessions.find(cookie) is None


def test_a_session_ends_by_itself() -> None:
    clock = FakeClock()
    sessions = Sessions(clock)
    cookie, _ = sessions.begin("token")
    clock.seconds = LIFE_S - 1
    assert sessions.find(cookie) is not None
    clock.seconds = LIFE_S
    assert sessions.find(cookie) is None
    sessions.begin("token")
    assert len(sessions) == 1


def test_a_token_cannot_end_the_sessions_of_others() -> None:
    sessions = Sessions()
    first, _ = sessions.begin("one")
    cookies = [sessions.begin("two")[0] for _ in range(MOST_OF_ONE + 2)]
    assert sessions.find(first) is not None
    assert [sessions.find(cookie) is None for cookie in cookies[:3]] == [True, True, False]
    assert len(sessions) == MOST_OF_ONE + 1


def test_memory_is_bounded() -> None:
    sessions = Sessions()
    for n in range(MOST + 50):
        sessions.begin(f"token {n}")
    assert len(sessions) == MOST
