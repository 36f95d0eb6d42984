"""What goes on while the engine that lists the sessions is down, and what doesn't."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from servers import RedisServer

from django_multisession.drivers.listed import listing
from django_multisession.engine import close_drivers
from django_multisession.exceptions import StoreUnavailable
from django_multisession.user_sessions import end_all_sessions, list_sessions
from tests.engine_fixtures import Engine
from tests.listed.conftest import Login, saved, used
from tests.listed.test_lost_cards import LATER
from tests.user_sessions.conftest import log_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running


class Outage:
    """A server that answers nothing, and counts what it is sent."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, _command: Any) -> Any:
        self.sent += 1
        raise StoreUnavailable("Redis is down.")


@pytest.fixture
def key(engine: Engine, login: Login, user: User) -> str:
    return login(user)


@pytest.fixture
def outage(engine: Engine, key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    outage = Outage()
    with monkeypatch.context() as patched:
        patched.setattr(engine.notes.server, "send", outage.send)
        yield outage


def test_a_session_goes_on(
    clock: Clock, engine: Engine, key: str, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, listing.__name__):
        for _ in range(3):
            clock.advance(seconds=61)
            assert used(engine, key).get("count", 0) == saved(engine, key)["count"] - 1
            clock.advance(seconds=1)
            saved(engine, key)
    lines = [each for each in caplog.messages if each.startswith("The engine that lists")]
    # One for each minute.
    assert len(lines) == 3
    assert not engine.SessionStore.outage_watch.is_on


@pytest.fixture
def own_redis(
    engine: Engine, settings: Settings, running_servers: Running, tmp_path: Path
) -> Iterator[RedisServer]:
    """A Redis of this test's own that lists the sessions."""
    with RedisServer(running_servers.redis("redis-8.2").binary, tmp_path / "redis") as server:
        settings.MULTISESSION_REDIS |= {"URL": server.url}
        yield server
        close_drivers()


def failed_login(engine: Engine, user: User) -> None:
    store = engine.SessionStore()
    log_in(store, user)
    with pytest.raises(StoreUnavailable):
        store.save()


def failed_list(_engine: Engine, user: User) -> None:
    with pytest.raises(StoreUnavailable):
        list_sessions(user)


@pytest.mark.parametrize("fail", [failed_login, failed_list])
def test_the_sessions_own_server_ends_no_outage_of_the_listing_engine(
    clock: Clock,
    own_redis: RedisServer,
    engine: Engine,
    user: User,
    login: Login,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[Engine, User], None],
) -> None:
    caplog.set_level(logging.WARNING, "django_multisession")
    key = login(user)
    own_redis.stop()
    for _ in range(3):
        fail(engine, user)
        clock.advance(seconds=10)
        saved(engine, key)
    own_redis.start()
    for _ in range(3):
        clock.advance(seconds=LATER)
        used(engine, key)
        login(user)
        list_sessions(user)
    assert [each.split(":")[0] for each in caplog.messages] == [
        "Sessions are unavailable",
        "Sessions are available again, after 0",
    ]


def test_the_end_of_an_outage_that_only_cards_met_is_logged_once(
    clock: Clock,
    own_redis: RedisServer,
    engine: Engine,
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own_redis.stop()
    clock.advance(seconds=LATER)
    used(engine, key)
    own_redis.start()
    for _ in range(2):
        clock.advance(seconds=LATER)
        used(engine, key)
    assert [each.split(",")[0] for each in caplog.messages] == [
        "The engine that lists the sessions failed",
        "The engine that lists the sessions answers again.",
    ]


def test_an_engine_that_failed_is_left_alone_for_a_while(
    clock: Clock, engine: Engine, key: str, outage: Outage
) -> None:
    clock.advance(seconds=61)
    used(engine, key)
    assert outage.sent == 1
    store = engine.SessionStore(key)
    store.cycle_key()
    store.save()
    assert outage.sent == 1
    clock.advance(seconds=61)
    used(engine, str(store.session_key))
    assert outage.sent == 2


def test_a_login_fails(engine: Engine, key: str, outage: Outage, user: User) -> None:
    for _ in range(2):
        store = engine.SessionStore()
        log_in(store, user)
        with pytest.raises(StoreUnavailable):
            store.save()
    # No login waits for an engine that failed a moment ago, but each asks.
    assert outage.sent == 2


def test_a_login_that_is_tried_again_fails_as_long_as_nothing_lists_it(
    engine: Engine, key: str, outage: Outage, user: User
) -> None:
    store = engine.SessionStore()
    log_in(store, user)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.save()


def test_an_anonymous_session_begins(engine: Engine, key: str, outage: Outage) -> None:
    store = engine.SessionStore()
    store["cart"] = 1
    store.save()
    assert engine.SessionStore(store.session_key)["cart"] == 1
    assert outage.sent == 0


def test_a_logout_holds(engine: Engine, key: str, outage: Outage) -> None:
    engine.SessionStore(key).flush()
    assert SESSION_KEY not in engine.SessionStore(key)


def test_a_list_and_an_end_of_all_fail(
    engine: Engine, key: str, outage: Outage, user: User
) -> None:
    with pytest.raises(StoreUnavailable):
        list_sessions(user)
    with pytest.raises(StoreUnavailable):
        end_all_sessions(user)


def test_what_moved_meanwhile_is_listed_afterwards(
    clock: Clock,
    settings: Settings,
    engine: Engine,
    user: User,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = engine.SessionStore(login(user))
    with monkeypatch.context() as patched:
        patched.setattr(engine.notes.server, "send", Outage().send)
        store.cycle_key()
        store.save()
    # By the tombstone under its old key.
    (found,) = list_sessions(user)
    clock.advance(seconds=61)
    used(engine, str(store.session_key))
    assert [each.id for each in list_sessions(user)] == [found.id]


@pytest.mark.parametrize("has_user", [False, True])
def test_a_login_takes_nothing_from_the_session_before(
    engine: Engine, user: User, login: Login, monkeypatch: pytest.MonkeyPatch, *, has_user: bool
) -> None:
    store = engine.SessionStore(login(user) if has_user else None)
    store["cart"] = 1
    store.save()
    before = dict(store.items())
    with monkeypatch.context() as patched:
        patched.setattr(engine.notes.server, "send", Outage().send)
        again = engine.SessionStore(store.session_key)
        log_in(again, user)
        with pytest.raises(StoreUnavailable):
            again.save()
    assert dict(engine.SessionStore(store.session_key).items()) == before
