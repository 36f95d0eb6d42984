"""How many sessions a user may have, and what a login beyond that does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.conf import settings as site_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest

from django_multisession import signals
from django_multisession.core import limits
from django_multisession.core.keys import Verified
from django_multisession.core.records import Record
from django_multisession.drivers.base import run as carry_out
from django_multisession.engine import close_drivers
from django_multisession.exceptions import SessionEnded, SessionLimitReached
from django_multisession.session.adopt import is_mark
from django_multisession.session.respond import CookieAnswer
from django_multisession.settings.checks import check_installed
from django_multisession.store import DriverSessionStore
from django_multisession.testing.driver.fixtures import make_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, facts_of
from django_multisession.user_sessions import list_sessions
from tests.engine_fixtures import Engine, use_engine
from tests.rows import restoring
from tests.user_sessions.conftest import Client, Functions, Login, log_in, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

MOST = 2


@pytest.fixture(params=["memory", "redis-8.2"])
def engine(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Engine:
    """Two engines: test_limit_races.py runs on all."""
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(autouse=True)
def most(settings: Settings) -> None:
    settings.MULTISESSION_MAX_SESSIONS = MOST


@pytest.fixture
def deny(settings: Settings) -> None:
    settings.MULTISESSION_AT_LIMIT = "deny"


@pytest.fixture
def least_used(settings: Settings) -> None:
    settings.MULTISESSION_AT_LIMIT = "least_used"


@pytest.fixture
def reasons() -> Iterator[list[str]]:
    """Why sessions were ended."""
    found: list[str] = []

    def note(reason: str, **_kwargs: Any) -> None:
        found.append(reason)

    signals.session_ended.connect(note)
    yield found
    signals.session_ended.disconnect(note)


def logged_in(clients: list[Client]) -> list[bool]:
    return [client.is_logged_in for client in clients]


def use(client: Client) -> None:
    store = client.opened()
    client.functions.call(store, "load")
    store["seen"] = 1
    client.functions.call(store, "save")


def several(login: Login, user: User, clock: Clock, number: int = MOST) -> list[Client]:
    clients = []
    for _ in range(number):
        clients.append(login(user))
        clock.advance(seconds=1)
    return clients


# Which sessions end


def test_a_login_beyond_the_limit_ends_the_oldest(
    clock: Clock, user: User, login: Login, reasons: list[str]
) -> None:
    clients = several(login, user, clock)
    use(clients[0])
    theirs = login(make_user())
    clients.append(login(user))
    assert logged_in(clients) == [False, True, True]
    assert reasons == ["limit"]
    assert theirs.is_logged_in


def test_a_login_beyond_the_limit_ends_the_oldest_where_logins_keep_the_key(
    settings: Settings, clock: Clock, user: User, login: Login, reasons: list[str]
) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    clients = several(login, user, clock)
    clock.advance(seconds=limits.SEAT_MS / 1000)
    use(clients[0])
    clients.append(login(user))
    assert logged_in(clients) == [False, True, True]
    assert reasons == ["limit"]


def test_a_login_beyond_the_limit_ends_the_least_used(
    least_used: None, clock: Clock, user: User, login: Login, reasons: list[str]
) -> None:
    clients = several(login, user, clock)
    clock.advance(seconds=limits.SEAT_MS / 1000)
    use(clients[0])
    clients.append(login(user))
    assert logged_in(clients) == [True, False, True]
    assert reasons == ["limit"]


def test_a_limit_that_was_lowered_holds_from_the_next_login_on(
    settings: Settings, clock: Clock, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 5
    clients = several(login, user, clock, 5)
    settings.MULTISESSION_MAX_SESSIONS = MOST
    clients.append(login(user))
    assert logged_in(clients) == [False] * 4 + [True] * 2


def test_a_session_that_expired_takes_no_room(
    deny: None, settings: Settings, clock: Clock, user: User, login: Login
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 60
    several(login, user, clock)
    clock.advance(seconds=120)
    assert login(user).is_logged_in


def test_a_session_with_a_new_key_is_followed(clock: Clock, user: User, login: Login) -> None:
    clients = several(login, user, clock)
    store = clients[0].opened()
    clients[0].functions.call(store, "cycle_key")
    clients[0].functions.call(store, "save")
    login(user)
    assert SESSION_KEY not in clients[0].engine.SessionStore(store.session_key)
    assert len(list_sessions(user)) == MOST


@for_each("at_limit", ["oldest", "least_used", "deny"])
def test_a_login_in_a_session_of_the_user_does_not_count_twice(
    settings: Settings, clock: Clock, login: Login, at_limit: str
) -> None:
    user = make_user()
    settings.MULTISESSION_AT_LIMIT = at_limit
    clients = several(login, user, clock)
    for _ in range(2):
        store = clients[0].opened()
        clients[0].functions.call(store, "load")
        log_in(store, user)
        clients[0].functions.call(store, "save")
        clients[0] = Client(clients[0].engine, clients[0].functions, str(store.session_key))
    assert logged_in(clients) == [True, True]
    assert len(list_sessions(user)) == MOST


@for_each("at_limit", ["oldest", "least_used"])
def test_a_login_by_a_clock_that_is_behind_stays(
    settings: Settings, clock: Clock, login: Login, at_limit: str
) -> None:
    user = make_user()
    settings.MULTISESSION_AT_LIMIT = at_limit
    several(login, user, clock)
    clock.advance(seconds=-30)
    client = login(user)
    assert client.is_logged_in
    use(client)
    assert len(list_sessions(user)) == MOST


def test_a_record_that_no_one_signed_takes_no_room(
    deny: None, engine: Engine, user: User, login: Login
) -> None:
    record: Any = carry_out(engine.driver.get(login(make_user()).place))
    for number in range(MOST):
        forged = changed(record, user_id=str(user.pk), series=bytes([number]) * 12)
        assert carry_out(engine.driver.add(make_key()[:32], forged))
    assert login(user).is_logged_in


# Denied


def test_a_login_beyond_the_limit_is_denied(
    deny: None, clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    clients = several(login, user, clock)
    with pytest.raises(SessionLimitReached):
        login(user)
    assert logged_in(clients) == [True, True]
    assert len(list_sessions(user)) == MOST
    assert login(make_user()).is_logged_in


def test_a_denied_login_leaves_the_session_as_it_was(
    deny: None, clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    several(login, user, clock)
    store = engine.SessionStore()
    store["cart"] = ["tea"]
    functions.call(store, "save")
    key = store.session_key
    store = engine.SessionStore(key)
    functions.call(store, "load")
    functions.call(store, "cycle_key")
    store["cart"] = ["tea", "milk"]
    log_in(store, user)
    functions.call(store, "set_expiry", 86400)
    with pytest.raises(SessionLimitReached):
        functions.call(store, "save")
    assert store.session_key == key
    # What was changed beside the login is still to be saved.
    assert store.modified
    functions.call(store, "save")
    assert dict(functions.call(engine.SessionStore(key), "load")) == {"cart": ["tea", "milk"]}
    assert len(list_sessions(user)) == MOST


def test_a_denied_login_of_a_client_without_a_session_leaves_none(
    deny: None, clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    several(login, user, clock)
    store = engine.SessionStore()
    log_in(store, user)
    with pytest.raises(PermissionDenied):
        functions.call(store, "save")
    assert store.session_key is None
    assert store.is_empty()
    assert not store.modified


def test_a_denied_login_revives_no_session_that_was_ended(
    deny: None, clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    several(login, user, clock)
    ended = login(make_user())
    store = ended.opened()
    functions.call(ended.opened(), "flush")
    log_in(store, user)
    with pytest.raises(SessionLimitReached):
        functions.call(store, "save")
    assert not ended.is_logged_in
    assert not functions.call(engine.SessionStore(), "exists", ended.session_key)
    # The client may have a newer cookie.
    assert functions.call(store, "respond") is CookieAnswer.KEEP
    store["cart"] = 1
    with pytest.raises(SessionEnded):
        functions.call(store, "save")


def test_a_denied_login_gives_no_user_back_whom_the_session_had(
    deny: None, clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    several(login, user, clock)
    other = make_user()
    client = login(other)
    store = client.opened()
    functions.call(store, "load")
    log_in(store, user)
    with pytest.raises(SessionLimitReached):
        functions.call(store, "save")
    assert store[SESSION_KEY] == str(other.pk)
    functions.call(store, "save")
    assert [each.user_id for each in list_sessions(other)] == [str(other.pk)]


def test_of_concurrent_logins_in_one_session_one_takes_its_place(
    deny: None, settings: Settings, functions: Functions, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    client = login(user)
    tabs = [client.opened() for _ in range(3)]
    for tab in tabs:
        functions.call(tab, "load")
        log_in(tab, user)
    functions.call(tabs[0], "save")
    for tab in tabs[1:]:
        with pytest.raises(SessionLimitReached):
            functions.call(tab, "save")
    assert [each.id for each in list_sessions(user, request_of(tabs[0])) if each.is_current]
    assert len(list_sessions(user)) == 1


def test_a_login_in_a_session_that_was_ended_meanwhile_is_denied_if_another_one_has_the_room(
    deny: None, settings: Settings, functions: Functions, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    client = login(user)
    tab = client.opened()
    functions.call(tab, "load")
    functions.call(client.opened(), "flush")
    other = login(user)
    log_in(tab, user)
    with pytest.raises(SessionLimitReached):
        functions.call(tab, "save")
    assert other.is_logged_in
    functions.call(other.opened(), "flush")
    # Neither login has left a seat.
    assert login(user).is_logged_in


def request_of(store: DriverSessionStore) -> HttpRequest:
    request = HttpRequest()
    request.session = store
    return request


def test_there_is_room_immediately_after_a_logout(
    deny: None, clock: Clock, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    for _ in range(3):
        clients = [login(user), login(user)]
        with pytest.raises(SessionLimitReached):
            login(user)
        for client in clients:
            functions.call(client.opened(), "flush")
    assert list_sessions(user) == []


def seats_of(engine: Engine, user: User) -> tuple[str, Record]:
    place = limits.place_of(str(user.pk).encode(), b"")
    stored: Any = carry_out(engine.driver.get(place))
    return place, stored


def test_the_record_of_the_seats_is_no_session(
    deny: None, engine: Engine, user: User, login: Login
) -> None:
    login(user)
    place, stored = seats_of(engine, user)
    assert is_mark(engine.SessionStore()._inner.site, place, stored)
    assert limits.decode(engine.SessionStore()._inner.site.open(stored, verified(place))) == ()


def verified(place: str) -> Any:
    from django_multisession.core.keys import Verified

    return Verified("", place)


def test_seats_that_no_one_signed_keep_no_one_out(
    deny: None, engine: Engine, user: User, login: Login
) -> None:
    login(user)
    place, stored = seats_of(engine, user)
    carry_out(engine.driver.withdraw(place, stored))
    forged = changed(stored, payload=b"\x01" + limits.encode([limits.Seat(b"x" * 12, 2**50)] * 9))
    assert carry_out(engine.driver.add(place, forged))
    assert login(user).is_logged_in
    assert len(list_sessions(user)) == MOST


# Which limit


def test_a_function_says_how_many_sessions_a_user_may_have(
    settings: Settings, clock: Clock, functions: Functions, user: User, login: Login
) -> None:
    asked = []
    other = make_user()

    def most_of(user_id: str) -> int | None:
        asked.append(user_id)
        return 1 if user_id == str(user.pk) else None

    settings.MULTISESSION_MAX_SESSIONS = most_of
    several(login, user, clock, 3)
    several(login, other, clock, 3)
    assert len(list_sessions(user)) == 1
    assert len(list_sessions(other)) == 3
    assert asked == [str(user.pk)] * 3 + [str(other.pk)] * 3


async def one(_user_id: str) -> int:
    return 1


def test_the_function_may_be_async_and_named_by_its_path(
    settings: Settings, clock: Clock, user: User, login: Login
) -> None:
    assert iscoroutinefunction(one)
    settings.MULTISESSION_MAX_SESSIONS = f"{__name__}.one"
    several(login, user, clock, 3)
    assert len(list_sessions(user)) == 1


@pytest.mark.django_db
def test_the_function_may_use_the_database(
    settings: Settings, user: User, clock: Clock, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = lambda _: User.objects.count() + 1
    several(login, user, clock, 3)
    assert len(list_sessions(user)) == 1


@for_each("value", [0, True, "2", -1])
def test_a_function_that_returns_no_limit_is_an_error(
    settings: Settings, user: User, login: Login, value: Any
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = lambda _: value
    with pytest.raises(ImproperlyConfigured, match="1 or more, or None"):
        login(user)
    assert list_sessions(user) == []


def test_an_engine_that_finds_no_sessions_lets_no_one_in_uncounted(
    settings: Settings, user: User
) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.cookie"
    close_drivers()
    store: DriverSessionStore = Engine("cookie").SessionStore()
    log_in(store, user)
    with pytest.raises(ImproperlyConfigured, match="The engine cookie can't find"):
        store.save()


@for_each("name", ["cookie", "memcached"])
@restoring
def test_a_check_names_an_engine_that_finds_no_sessions(settings: Settings, name: str) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{name}"
    settings.MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:1"]}
    close_drivers()
    found = [each for each in check_installed() if each.id == "multisession.E055"]
    assert [settings.SESSION_ENGINE in each.msg for each in found] == [True]
    settings.MULTISESSION_MAX_SESSIONS = None
    assert check_installed() == []


def test_no_check_speaks_of_an_engine_that_finds_them(engine: Engine) -> None:
    assert check_installed() == []


# Asked before


def test_a_site_asks_whether_a_login_would_be_denied(
    deny: None, clock: Clock, functions: Functions, user: User, login: Login
) -> None:
    assert not functions.at_limit(user)
    clients = several(login, user, clock)
    assert functions.at_limit(user)
    assert functions.at_limit(user, login(make_user()).request())
    assert not functions.at_limit(user, clients[0].request())
    assert not functions.at_limit(make_user())


@for_each("at_limit", ["oldest", "least_used"])
def test_no_login_would_be_denied_where_others_end(
    settings: Settings, clock: Clock, functions: Functions, user: User, login: Login, at_limit: str
) -> None:
    settings.MULTISESSION_AT_LIMIT = at_limit
    several(login, user, clock)
    assert not functions.at_limit(user)


def test_no_login_would_be_denied_without_a_limit(
    deny: None, settings: Settings, functions: Functions, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = None
    login(user)
    assert not functions.at_limit(user, HttpRequest())


def test_times_of_a_session_under_a_limit_are_those_of_its_login(
    clock: Clock, user: User, login: Login
) -> None:
    login(user)
    (found,) = list_sessions(user)
    assert found.began_at == found.last_used_at == clock.now
    clock.advance(timedelta(seconds=1))
    login(user)
    assert list_sessions(user)[0].began_at == clock.now


def test_the_first_login_of_a_session_sees_an_assigned_limit(
    clock: Clock, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user()
    stores = [engine.SessionStore() for _ in range(2)]
    log_in(stores[0], user)
    stores[0].save()
    clock.advance(seconds=1)
    log_in(stores[1], user)
    # Without a signal, as code of a site does it.
    with monkeypatch.context() as patched:
        patched.setattr(site_settings, "MULTISESSION_MAX_SESSIONS", 1)
        stores[1].save()
    assert len(list_sessions(user)) == 1


def test_a_session_that_lies_under_two_keys_counts_once(
    clock: Clock, engine: Engine, login: Login, user: User
) -> None:
    client = login(user)
    store = client.opened()
    store.get("name")
    session: Any = store._recognized
    site, record = session.site, session.state.snapshot.record
    # As where a server moves a session in steps.
    key = Verified("", make_key())
    body = site.open(record, Verified("", client.place))
    assert carry_out(
        engine.driver.add(key.storage_key, site.sign(facts_of(record), body, key, None))
    )
    clock.advance(seconds=1)
    other = login(user)
    assert logged_in([client, other]) == [True, True]
    assert len(list_sessions(user)) == 2
