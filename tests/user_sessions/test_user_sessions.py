"""What the functions of `user_sessions` find and end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils import timezone

from django_multisession import signals, user_sessions
from django_multisession.core import marks
from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.core.records import SLACK_MS, to_milliseconds
from django_multisession.drivers import log_lines
from django_multisession.drivers.base import Page, Steps
from django_multisession.drivers.base import run as carry_out
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.drivers.memory import MemoryServer
from django_multisession.drivers.redis.index import place_of
from django_multisession.engine import close_drivers
from django_multisession.exceptions import SessionConflict, SessionEnded
from django_multisession.session import of_user
from django_multisession.session.steps import Pause
from django_multisession.store import DriverSessionStore
from django_multisession.testing.driver.fixtures import make_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed
from django_multisession.user_sessions import end_other_sessions, end_session, list_sessions
from tests.engine_fixtures import Engine
from tests.unit.test_devices import CHROME, FIREFOX
from tests.user_sessions.conftest import (
    Client,
    Functions,
    Login,
    ending_verb,
    log_in,
    make_user,
    stored_record,
)

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock


def ids(functions: Functions, user: User) -> list[str]:
    return [each.id for each in functions.list_sessions(user)]


# Listing


def test_a_user_without_sessions_has_none(engine: Engine, functions: Functions, user: User) -> None:
    assert functions.list_sessions(user) == []


def test_a_listed_session_tells_its_times(
    clock: Clock, settings: Settings, functions: Functions, user: User, login: Login
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 3600
    began = clock.now
    client = login(user)
    clock.advance(timedelta(seconds=1800))
    store = client.opened()
    store["page"] = 2
    functions.call(store, "save")
    (found,) = functions.list_sessions(user)
    assert (found.began_at, found.last_used_at) == (began, clock.now)
    assert found.ends_at == clock.now + timedelta(hours=1)
    assert found.user_id == str(user.pk)
    assert not found.is_current
    assert found.is_remembered


def test_sessions_are_listed_by_their_last_use(
    clock: Clock, functions: Functions, user: User, login: Login
) -> None:
    clients = []
    for _ in range(3):
        clients.append(login(user))
        clock.advance(timedelta(seconds=1))
    current = [
        [each.is_current for each in functions.list_sessions(user, client.request())]
        for client in clients
    ]
    assert current == [[False, False, True], [False, True, False], [True, False, False]]


def test_a_browser_length_session_is_not_remembered(
    functions: Functions, user: User, login: Login
) -> None:
    login(user, _session_expiry=0)
    login(user, _session_expiry=60)
    assert sorted(each.is_remembered for each in functions.list_sessions(user)) == [False, True]


def test_what_a_login_recorded_is_listed(functions: Functions, user: User, login: Login) -> None:
    login(user, **{USER_AGENT_ENTRY: FIREFOX, ADDRESS_ENTRY: "192.0.2.0/24"})
    login(user)
    recorded = {
        (each.user_agent, each.device, each.address) for each in functions.list_sessions(user)
    }
    assert recorded == {(FIREFOX, "Firefox on Linux", "192.0.2.0/24"), ("", "", "")}


def test_a_login_from_a_new_device_is_told(
    clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    heard: list[str] = []

    # Two logins of one millisecond are concurrent, and either may be told.
    def log_in(agent: str) -> Client:
        clock.advance(seconds=1)
        return login(user, **{USER_AGENT_ENTRY: agent})

    def hear(*, storage_key: str, **_arguments: Any) -> None:
        heard.append(storage_key)

    log_in(FIREFOX)
    signals.new_device.connect(hear, sender=engine.SessionStore)
    try:
        clients = [log_in(each) for each in (FIREFOX, CHROME, CHROME)]
    finally:
        signals.new_device.disconnect(hear, sender=engine.SessionStore)
    assert heard == [clients[1].place]


def test_only_sessions_of_the_user_are_listed(
    engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    login(make_user())
    anonymous = engine.SessionStore()
    anonymous["cart"] = 1
    functions.call(anonymous, "save")
    assert functions.list_sessions(user) == []


def test_a_new_key_keeps_the_id_and_a_login_makes_another(
    functions: Functions, user: User, login: Login
) -> None:
    client = login(user)
    before = ids(functions, user)
    store = client.opened()
    functions.call(store, "cycle_key")
    functions.call(store, "save")
    assert ids(functions, user) == before
    log_in(store, user)
    functions.call(store, "save")
    assert len(ids(functions, user)) == 1
    assert ids(functions, user) != before


def test_a_timeout_that_was_shortened_holds_in_the_list(
    clock: Clock, settings: Settings, functions: Functions, user: User, login: Login
) -> None:
    login(user)
    clock.advance(timedelta(seconds=7200))
    settings.MULTISESSION_IDLE_TIMEOUT = 3600
    assert functions.list_sessions(user) == []


def test_what_is_listed_shows_no_key(functions: Functions, user: User, login: Login) -> None:
    client = login(user)
    (found,) = functions.list_sessions(user)
    assert client.session_key[:22] not in repr(found)
    assert client.place not in repr(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.id = ""


# A poisoned store


@for_each(
    "changes", [{"user_id": "1"}, {"series": b"x" * 12}, {"began_ms": 0}, {"payload": b"\x01{}"}]
)
def test_a_record_that_no_one_signed_is_neither_listed_nor_ended(
    engine: Engine, functions: Functions, login: Login, changes: dict[str, Any]
) -> None:
    victim, thief = make_user(), make_user()
    client = login(thief)
    record = stored_record(engine, client)
    forged = changed(record, **{**changes, "user_id": str(victim.pk)})
    place = make_key()[:32]
    assert carry_out(engine.driver.add(place, forged))
    assert functions.list_sessions(victim) == []
    assert functions.end_all_sessions(victim) == 0
    assert client.is_logged_in
    assert carry_out(engine.driver.get(place)) == forged


def test_a_copy_of_a_record_under_another_key_is_not_listed(
    engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    client = login(user)
    record = stored_record(engine, client)
    assert carry_out(engine.driver.add(make_key()[:32], record))
    assert len(functions.list_sessions(user)) == 1


def test_one_tenant_neither_sees_nor_ends_sessions_of_another(
    functions: Functions,
    settings: Settings,
    user: User,
    login: Login,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.MULTISESSION_NAMESPACE = "one"
    client = login(user)
    settings.MULTISESSION_NAMESPACE = "two"
    assert functions.list_sessions(user) == []
    assert functions.end_all_sessions(user) == 0
    # Users of two tenants may have the same id.
    assert caplog.messages == []
    settings.MULTISESSION_NAMESPACE = "one"
    assert client.is_logged_in


def test_a_tenant_of_a_subclass_logs_nothing_of_another(
    functions: Functions,
    settings: Settings,
    engine: Engine,
    user: User,
    login: Login,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class TenantStore(engine.SessionStore):  # type: ignore[misc, name-defined]  # a class by a name
        def get_namespace(self) -> str:
            return ""

    settings.MULTISESSION_NAMESPACE = "one"
    login(user)
    settings.MULTISESSION_NAMESPACE = ""
    request = HttpRequest()
    request.session = TenantStore()
    assert functions.list_sessions(user, request) == []
    assert caplog.messages == []


def test_a_listing_of_one_site_logs_what_it_cannot_verify(
    engine: Engine,
    functions: Functions,
    user: User,
    login: Login,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, place = login(user), make_key()[:32]
    record = stored_record(engine, client)
    assert carry_out(engine.driver.add(place, record))
    log_lines.counter.clear()
    assert len(functions.list_sessions(user)) == 1
    assert [line for line in caplog.messages if place in line]


# Ending


def test_a_session_is_ended_by_its_id(
    engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    heard: list[dict[str, Any]] = []

    def hear(**arguments: Any) -> None:
        heard.append(arguments)

    signals.session_ended.connect(hear, sender=engine.SessionStore)
    one, other = login(user), login(user)
    (wanted,) = (
        each.id for each in functions.list_sessions(user, one.request()) if each.is_current
    )
    try:
        assert functions.end_session(user, wanted) is True
    finally:
        signals.session_ended.disconnect(hear, sender=engine.SessionStore)
    assert [(each["storage_key"], each["reason"]) for each in heard] == [(one.place, "revoked")]
    assert (one.is_logged_in, other.is_logged_in) == (False, True)
    assert functions.end_session(user, wanted) is False


@for_each("session_id", ["", "x", "00", "0" * 24, "\0", "\N{SNOWMAN}" * 24, "f" * 24_000, None, 7])
def test_an_unknown_id_ends_nothing(
    functions: Functions, user: User, login: Login, session_id: Any
) -> None:
    client = login(user)
    assert functions.end_session(user, session_id) is False
    assert client.is_logged_in


def test_another_users_session_is_not_ended(functions: Functions, login: Login) -> None:
    mine, theirs = make_user(), make_user()
    login(mine)
    client = login(theirs)
    (found,) = functions.list_sessions(theirs)
    assert functions.end_session(mine, found.id) is False
    assert client.is_logged_in


def test_the_other_sessions_end_and_the_current_one_gets_a_new_key(
    functions: Functions, user: User, login: Login
) -> None:
    mine, others, stranger = login(user), [login(user) for _ in range(3)], login(make_user())
    request = mine.request()
    assert functions.end_other_sessions(request) == 3
    functions.call(request.session, "save")
    assert not any(client.is_logged_in for client in others)
    assert stranger.is_logged_in
    assert not mine.is_logged_in
    assert Client(mine.engine, functions, str(request.session.session_key)).is_logged_in
    assert len(functions.list_sessions(user)) == 1


def test_a_login_that_ends_the_others_stays(
    engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    other = login(user)
    request = HttpRequest()
    store = request.session = engine.SessionStore()
    log_in(store, user)
    assert functions.end_other_sessions(request) == 1
    functions.call(request.session, "save")
    assert not other.is_logged_in
    assert Client(engine, functions, str(request.session.session_key)).is_logged_in


def test_the_others_of_no_user_are_none(engine: Engine, functions: Functions, login: Login) -> None:
    client = login(make_user())
    assert functions.end_other_sessions(Client(engine, functions, "").request()) == 0
    assert client.is_logged_in


def test_all_sessions_end(functions: Functions, user: User, login: Login) -> None:
    clients = [login(user) for _ in range(5)]
    assert functions.end_all_sessions(user) == 5
    assert not any(client.is_logged_in for client in clients)
    assert functions.end_all_sessions(user) == 0


def test_a_session_that_moved_since_it_was_listed_ends(
    functions: Functions, user: User, login: Login
) -> None:
    client = login(user)
    (found,) = functions.list_sessions(user)
    store = client.opened()
    for _ in range(3):
        functions.call(store, "cycle_key")
        functions.call(store, "save")
    assert functions.end_session(user, found.id) is True
    assert not Client(client.engine, functions, str(store.session_key)).is_logged_in


@pytest.mark.parametrize("engine", ["memory"], indirect=True)
def test_a_session_that_moves_behind_what_was_read_is_ended_by_its_id(
    engine: Engine, user: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = login(user)
    (found,) = list_sessions(user)
    send, first = MemoryServer.send, [Page([], "")]

    def answer(server: MemoryServer, command: Any) -> Any:
        return first.pop() if command.verb == "of_user" and first else send(server, command)

    monkeypatch.setattr(MemoryServer, "send", answer)
    assert end_session(user, found.id) is True
    assert not first
    assert not client.is_logged_in


def before_each(steps: Steps[Any], verb: str, act: Callable[[int], object]) -> Any:
    """Carry out *steps*, and before each command of *verb* do something else, which gets its number."""
    number = 0
    try:
        ask = next(steps)
        while True:
            if isinstance(ask, Pause):
                ask = steps.send(None)
                continue
            if ask.verb == verb:
                act(number)
                number += 1
            ask = steps.send(ask.server.send(ask.command))
    except StopIteration as stop:
        assert number
        return stop.value


def interrupted(steps: Steps[Any], verb: str, interrupt: Callable[[], object]) -> Any:
    """Carry out *steps*, and do something else before the first command of *verb* is sent."""
    return before_each(steps, verb, lambda number: None if number else interrupt())


def test_a_session_that_another_user_took_over_since_it_was_listed_stays(
    settings: Settings, engine: Engine, login: Login
) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    mine, theirs = make_user(), make_user()
    client, other = login(mine), login(mine)

    def log_in_theirs() -> None:
        store = client.opened()
        store.clear()
        log_in(store, theirs)
        store.save()
        key = store._recognized.key
        assert key is not None
        assert key.storage_key == client.place

    ending: Any = of_user.end_all(engine.SessionStore()._recognized, str(mine.pk))
    assert interrupted(ending, ending_verb(engine), log_in_theirs) == 1
    assert (client.is_logged_in, other.is_logged_in) == (True, False)
    assert len(list_sessions(theirs)) == 1


def test_sessions_that_move_while_they_are_ended_end(
    engine: Engine, user: User, login: Login
) -> None:
    clients = [login(user) for _ in range(3)]
    stores = [client.opened() for client in clients[:2]]

    def move() -> None:
        for store in stores:
            # Where another engine lists the sessions, a new key heeds the mark of the end.
            with contextlib.suppress(SessionEnded):
                for _ in range(3):
                    store.cycle_key()
                    store.save()

    ending: Any = of_user.end_all(engine.SessionStore()._recognized, str(user.pk))
    ends_themselves = len(stores) if isinstance(engine.driver, ListedDriver) else 0
    assert interrupted(ending, ending_verb(engine), move) == 3 - ends_themselves
    assert not any(client.is_logged_in for client in clients)
    assert not any(SESSION_KEY in engine.SessionStore(store.session_key) for store in stores)


def test_logins_that_begin_while_all_are_ended_stay(
    clock: Clock, engine: Engine, user: User, login: Login
) -> None:
    clients = [login(user)]

    def log_in_once_more(number: int) -> None:
        clock.advance(timedelta(seconds=1))
        if number:
            clients.append(login(user))

    ending: Any = of_user.end_all(engine.SessionStore()._recognized, str(user.pk))
    assert before_each(ending, "of_user", log_in_once_more) == 1
    assert [client.is_logged_in for client in clients] == [False, *[True] * (len(clients) - 1)]


def test_a_session_that_a_clock_ahead_began_ends_in_any_pass(
    clock: Clock, engine: Engine, user: User, login: Login
) -> None:
    clients = [login(user)]

    def log_in_ahead(number: int) -> None:
        if number == 1:
            clock.advance(timedelta(days=1))
            clients.append(login(user))
            clock.advance(-timedelta(days=1))

    ending: Any = of_user.end_all(engine.SessionStore()._recognized, str(user.pk))
    assert before_each(ending, "of_user", log_in_ahead) == 2
    assert not any(client.is_logged_in for client in clients)


def test_an_end_of_all_that_leaves_sessions_is_no_success(
    clock: Clock, engine: Engine, user: User, login: Login
) -> None:
    ending: Any = of_user.end(engine.SessionStore()._recognized, str(user.pk), lambda _record: True)
    with pytest.raises(SessionConflict):
        before_each(ending, "of_user", lambda _number: login(user))


@pytest.mark.parametrize("engine", ["redis-8.2"], indirect=True)
def test_an_end_follows_a_session_that_the_index_has_lost(
    settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    store = login(user).opened()
    prefix = settings.MULTISESSION_REDIS["KEY_PREFIX"]

    def move_unseen() -> None:
        store.cycle_key()
        store.save()
        engine.driver.server.send(("DEL", place_of(prefix, str(user.pk).encode())))

    ending: Any = of_user.end_all(engine.SessionStore()._recognized, str(user.pk))
    assert interrupted(ending, "delete_many", move_unseen) == 1
    assert SESSION_KEY not in engine.SessionStore(store.session_key)


def test_a_mark_that_expires_as_it_is_written_over_is_written(
    clock: Clock, engine: Engine, user: User
) -> None:
    place = marks.place_of(str(user.pk).encode(), b"")

    def mark() -> Any:
        return of_user.mark(engine.SessionStore()._recognized, str(user.pk))

    def expire() -> None:
        stored: Any = carry_out(engine.notes.get(place))
        carry_out(engine.notes.withdraw(place, stored))

    assert carry_out(mark()) == to_milliseconds(clock.now)
    clock.advance(timedelta(seconds=1))
    interrupted(mark(), "get", expire)
    stored: Any = carry_out(engine.notes.get(place))
    assert stored.began_ms == to_milliseconds(clock.now)


def test_a_mark_of_a_clock_that_was_set_back_is_written_over(
    clock: Clock, functions: Functions, user: User, engine: Engine
) -> None:
    functions.end_all_sessions(user)
    clock.advance(timedelta(milliseconds=-SLACK_MS - 30_000))
    assert_its_login_ends(engine.SessionStore(), user, functions, clock)


@pytest.mark.parametrize("engine", ["memory"], indirect=True)
def test_a_mark_that_others_go_on_changing_is_logged(
    clock: Clock, engine: Engine, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    place, driver = marks.place_of(str(user.pk).encode(), b""), engine.driver
    user_sessions.end_all_sessions(user)
    theirs: Any = carry_out(driver.get(place))
    clock.advance(timedelta(seconds=1))
    marking: Any = of_user.mark(engine.SessionStore()._recognized, str(user.pk))
    with contextlib.suppress(StopIteration):
        ask = next(marking)
        while True:
            # It is there when this one is added, and gone when this one replaces it.
            if ask.verb == "add":
                carry_out(driver.add(place, theirs))
            elif ask.verb == "replace":
                carry_out(driver.withdraw(place, theirs))
            ask = marking.send(ask.server.send(ask.command))
    assert "the mark that a user's sessions were ended can't be stored" in caplog.text


# A login that is under way


def assert_its_login_ends(
    store: DriverSessionStore, user: User, functions: Functions, clock: Clock
) -> None:
    log_in(store, user)
    clock.advance(timedelta(seconds=1))
    functions.end_all_sessions(user)
    with pytest.raises(SessionEnded):
        functions.call(store, "save")
    assert functions.list_sessions(user) == []


def test_a_login_that_began_before_all_were_ended_ends_itself(
    clock: Clock, engine: Engine, functions: Functions, user: User
) -> None:
    store = engine.SessionStore()
    assert_its_login_ends(store, user, functions, clock)


def test_a_login_over_a_session_that_began_before_ends_itself(
    clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    store = login(make_user()).opened()
    functions.call(store, "get", "x")
    assert_its_login_ends(store, user, functions, clock)


def test_a_login_that_keeps_its_key_ends_itself(
    clock: Clock, settings: Settings, engine: Engine, functions: Functions, user: User
) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    store = engine.SessionStore()
    store["cart"] = 1
    functions.call(store, "save")
    assert_its_login_ends(store, user, functions, clock)


def test_a_later_login_stays(clock: Clock, functions: Functions, user: User, login: Login) -> None:
    for _ in range(3):
        functions.end_all_sessions(user)
        client = login(user)
        assert client.is_logged_in
        clock.advance(timedelta(seconds=1))
    clock.advance(timedelta(seconds=marks.MARK_MS / 1000 + 30))
    functions.end_all_sessions(user)
    assert not client.is_logged_in
    assert login(user).is_logged_in


def test_a_clock_that_was_ahead_keeps_no_user_out(
    clock: Clock, functions: Functions, user: User, login: Login
) -> None:
    clock.advance(timedelta(days=1))
    functions.end_all_sessions(user)
    clock.advance(-timedelta(days=1))
    client = login(user)
    assert client.is_logged_in
    clock.advance(timedelta(seconds=1))
    functions.end_all_sessions(user)
    assert not client.is_logged_in


def test_a_mark_is_for_its_user_and_its_tenant(
    clock: Clock, settings: Settings, engine: Engine, functions: Functions, user: User
) -> None:
    store = engine.SessionStore()
    log_in(store, user)
    clock.advance(timedelta(seconds=1))
    functions.end_all_sessions(make_user())
    settings.MULTISESSION_NAMESPACE = "another"
    functions.end_all_sessions(user)
    settings.MULTISESSION_NAMESPACE = ""
    functions.call(store, "save")
    assert len(functions.list_sessions(user)) == 1


def test_a_forged_mark_ends_no_login(
    clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    client = login(make_user())
    record = stored_record(engine, client)
    place = marks.place_of(str(user.pk).encode(), b"")
    forged = changed(record, began_ms=to_milliseconds(clock.now) + SLACK_MS // 2, user_id=None)
    assert carry_out(engine.notes.add(place, forged))
    assert login(user).is_logged_in


# Engines that can't


@pytest.mark.parametrize("name", ["cookie", "memcached"])
def test_an_engine_that_finds_no_sessions_names_itself(
    settings: Settings, user: User, name: str
) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{name}"
    settings.MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:1"]}
    close_drivers()
    with pytest.raises(ImproperlyConfigured, match=rf"^The engine {name} can't find the sessions"):
        list_sessions(user)
    with pytest.raises(ImproperlyConfigured, match="et SESSION_ENGINE to redis"):
        end_session(user, "0" * 24)


def test_an_engine_that_another_one_may_list_says_so(settings: Settings, user: User) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.memcached"
    settings.MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:1"]}
    close_drivers()
    told = r'Set MULTISESSION_MEMCACHED\["LISTED_IN"\] to'
    with pytest.raises(ImproperlyConfigured, match=told):
        list_sessions(user)


def test_djangos_engines_are_named(settings: Settings, user: User, rf: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    request = rf.get("/")
    request.session = {}
    told = r"got 'django\.contrib\.sessions\.backends"
    with pytest.raises(ImproperlyConfigured, match=told):
        list_sessions(user)
    with pytest.raises(ImproperlyConfigured, match=told):
        end_other_sessions(request)


def test_the_times_are_aware(functions: Functions, user: User, login: Login) -> None:
    login(user)
    (found,) = functions.list_sessions(user)
    assert all(map(timezone.is_aware, (found.began_at, found.last_used_at, found.ends_at)))
