"""A list beside the writes of a session: between the record's and the card's."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User

from django_multisession.exceptions import SessionEnded
from django_multisession.user_sessions import end_all_sessions, list_sessions
from tests.engine_fixtures import Engine
from tests.listed.conftest import Login
from tests.user_sessions.conftest import log_in


def before_the_card(engine: Engine, act: Any, monkeypatch: Any) -> None:
    """Have the next command to the listing engine be sent after *act*."""
    server = engine.notes.server
    send = server.send

    def wait(command: Any) -> Any:
        monkeypatch.setattr(server, "send", send)
        act()
        return send(command)

    monkeypatch.setattr(server, "send", wait)


def test_a_session_that_moves_is_listed_at_each_moment(
    engine: Engine, user: User, login: Login, monkeypatch: Any
) -> None:
    store = engine.SessionStore(login(user))
    (before,) = list_sessions(user)
    seen: list[str] = []
    store.cycle_key()
    before_the_card(engine, lambda: seen.extend(e.id for e in list_sessions(user)), monkeypatch)
    store.save()
    assert seen == [before.id]
    assert [each.id for each in list_sessions(user)] == [before.id]


def test_a_session_that_moves_beside_the_end_of_all_ends(
    engine: Engine, user: User, login: Login, monkeypatch: Any
) -> None:
    store = engine.SessionStore(login(user))
    store.cycle_key()
    ended: list[int] = []
    before_the_card(engine, lambda: ended.append(end_all_sessions(user)), monkeypatch)
    with pytest.raises(SessionEnded):
        store.save()
    assert ended == [1]
    assert SESSION_KEY not in engine.SessionStore(store.session_key)
    assert list_sessions(user) == []


def test_a_session_that_ended_before_its_card_was_written_isnt_listed(
    engine: Engine, user: User, monkeypatch: Any
) -> None:
    store = engine.SessionStore()
    log_in(store, user)
    places: list[str] = []

    def end() -> None:
        state: Any = store._recognized.state
        engine.SessionStore(state.sent[0].composed.key.session_key).flush()
        places.append("ended")

    before_the_card(engine, end, monkeypatch)
    store.save()
    assert places == ["ended"]
    assert list_sessions(user) == []


def test_what_lies_in_the_listing_engine_without_a_card_is_not_listed(
    engine: Engine, user: User, login: Login, settings: Any
) -> None:
    login(user)
    settings.SESSION_ENGINE = "django_multisession.engines.redis"
    earlier = Engine("redis-8.2").SessionStore()
    log_in(earlier, user)
    earlier.save()
    settings.SESSION_ENGINE = engine.path
    assert len(list_sessions(user)) == 1


def test_a_session_that_a_login_takes_the_place_of_is_listed_at_each_moment(
    engine: Engine, user: User, login: Login, monkeypatch: Any
) -> None:
    store = engine.SessionStore(login(user))
    store.cycle_key()
    log_in(store, user)
    counts: list[int] = []

    def after_the_look() -> None:
        before_the_card(engine, lambda: counts.append(len(list_sessions(user))), monkeypatch)

    before_the_card(engine, after_the_look, monkeypatch)
    store.save()
    assert counts == [1]
    assert len(list_sessions(user)) == 1
