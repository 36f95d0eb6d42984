"""Logins under a limit that meet each other, or an outage: command by command, on the engine in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User

from django_multisession.core import limits, marks
from django_multisession.core.records import Answer, Outcome
from django_multisession.drivers.base import run as carry_out
from django_multisession.drivers.memory import MemoryServer
from django_multisession.exceptions import (
    EntryNotSerializable,
    SessionConflict,
    SessionEnded,
    SessionLimitReached,
    SessionTooLarge,
    StoreUnavailable,
)
from django_multisession.session import limit, save
from django_multisession.store import DriverSessionStore
from django_multisession.testing.driver.fixtures import make_record, with_bytes
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions import list_sessions
from tests.engine_fixtures import Engine, use_engine
from tests.user_sessions.conftest import Functions, Login, log_in, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

MOST = 2


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Engine:
    settings.MULTISESSION_MAX_SESSIONS = MOST
    return use_engine("memory", settings, running_servers)


@pytest.fixture
def deny(settings: Settings) -> None:
    settings.MULTISESSION_AT_LIMIT = "deny"


def test_of_logins_that_began_before_as_many_others_each_ends_itself(
    engine: Engine, settings: Settings, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = engine.SessionStore()
    log_in(late, user)

    def others_log_in(*arguments: Any) -> Any:
        monkeypatch.undo()
        # They end none: each has looked already, or has not.
        settings.MULTISESSION_MAX_SESSIONS = 9
        for _ in range(MOST):
            saved(logged_in(engine, user))
        return settle(*arguments)

    settle = limit.settle
    monkeypatch.setattr(limit, "settle", others_log_in)
    with pytest.raises(SessionEnded):
        late.save()
    assert late.get(SESSION_KEY) is not None
    assert len(list_sessions(user)) == MOST
    assert SESSION_KEY not in engine.SessionStore(late.session_key)


def test_a_login_that_is_never_stored_holds_its_seat_for_a_minute(
    deny: None, clock: Clock, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first one adds the record of the seats.
    for after in (1, 0):
        store = engine.SessionStore()
        log_in(store, user)
        with monkeypatch.context() as patched:
            break_server(patched, "add", after)
            with pytest.raises(StoreUnavailable):
                store.save()
    assert list_sessions(user) == []
    store = engine.SessionStore()
    log_in(store, user)
    with pytest.raises(SessionLimitReached):
        store.save()
    clock.advance(seconds=limits.SEAT_MS / 1000)
    log_in(store, user)
    store.save()
    assert len(list_sessions(user)) == 1


def test_a_login_that_cannot_be_stored_leaves_its_seat(
    deny: None, settings: Settings, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    store = engine.SessionStore()
    log_in(store, user)
    store["cart"] = object()
    with pytest.raises(EntryNotSerializable):
        functions.call(store, "save")
    client = login(user)
    # It is admitted again, and has no room now.
    store["cart"] = 1
    with pytest.raises(SessionLimitReached):
        functions.call(store, "save")
    assert client.is_logged_in


@pytest.mark.parametrize("has_cart", [False, True])
def test_a_login_that_is_too_large_leaves_its_seat(
    deny: None,
    settings: Settings,
    engine: Engine,
    functions: Functions,
    user: User,
    login: Login,
    has_cart: bool,
) -> None:
    settings.MULTISESSION_MAX_SESSIONS, settings.MULTISESSION_MAX_SIZE = 1, 2000
    store = engine.SessionStore()
    if has_cart:
        store["cart"] = 1
        functions.call(store, "save")
    log_in(store, user)
    store["page"] = "p" * 2000
    with pytest.raises(SessionTooLarge):
        functions.call(store, "save")
    client = login(user)
    store["page"] = ""
    with pytest.raises(SessionLimitReached):
        functions.call(store, "save")
    assert client.is_logged_in


def test_a_login_in_a_session_that_has_ended_leaves_its_seat(
    deny: None, key_kept: None, settings: Settings, engine: Engine, functions: Functions, user: User
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    store = engine.SessionStore()
    store["cart"] = 1
    store.save()
    engine.SessionStore().delete(store.session_key)
    log_in(store, user)
    with pytest.raises(SessionEnded):
        functions.call(store, "save")
    saved(logged_in(engine, user))
    assert len(list_sessions(user)) == 1


def test_a_login_whose_changes_cannot_be_merged_leaves_its_seat(
    deny: None, settings: Settings, engine: Engine, functions: Functions, user: User
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    settings.MULTISESSION_CONFLICT_RESOLVERS = {"cart": f"{__name__}.refuse"}
    store = engine.SessionStore()
    store["cart"] = 1
    other = engine.SessionStore(saved(store))
    other["cart"], store["cart"] = 2, 3
    other.save()
    log_in(store, user)
    with pytest.raises(ArithmeticError):
        functions.call(store, "save")
    saved(logged_in(engine, user))
    assert len(list_sessions(user)) == 1


def refuse(*_values: object) -> object:
    raise ArithmeticError


def test_a_login_that_gives_up_beside_other_saves_leaves_its_seat(
    deny: None,
    settings: Settings,
    engine: Engine,
    functions: Functions,
    user: User,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    store, answer = engine.SessionStore(), MemoryServer.send
    store["cart"] = 1
    functions.call(store, "save")
    log_in(store, user)

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == "move":
            place, _new, _record, base, *_rest = command.arguments
            return Answer(Outcome.CONFLICT, server.get(place) or base)
        return answer(server, command)

    with monkeypatch.context() as patched:
        carry_out_by(send, patched)
        patched.setattr(save, "SAVE_PATIENCE", -1)
        with pytest.raises(SessionConflict):
            functions.call(store, "save")
    assert login(user).is_logged_in


def test_a_login_whose_answer_was_lost_keeps_its_seat_if_it_is_too_large_then(
    deny: None,
    settings: Settings,
    engine: Engine,
    functions: Functions,
    user: User,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MULTISESSION_MAX_SESSIONS, settings.MULTISESSION_MAX_SIZE = 1, 2000
    with monkeypatch.context() as patched:
        store = begun_late(engine, functions, user, patched)
    store["page"] = "p" * 2000
    with pytest.raises(SessionTooLarge):
        functions.call(store, "save")
    with pytest.raises(SessionLimitReached):
        login(user)


def test_a_login_that_was_ended_with_all_others_leaves_its_seat(
    deny: None,
    settings: Settings,
    clock: Clock,
    engine: Engine,
    functions: Functions,
    user: User,
    login: Login,
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    store = engine.SessionStore()
    log_in(store, user)
    clock.advance(seconds=1)
    functions.end_all_sessions(user)
    with pytest.raises(SessionEnded):
        functions.call(store, "save")
    assert login(user).is_logged_in


def test_a_stored_login_succeeds_where_others_keep_it_from_leaving_its_seat(
    deny: None,
    settings: Settings,
    engine: Engine,
    user: User,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 9
    answer = MemoryServer.send

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == "replace":
            patched.undo()
            saved(logged_in(engine, user))
            patched.setattr(limit, "PATIENCE", -1)
        return answer(server, command)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryServer, "send", send)
        key = saved(logged_in(engine, user))
    assert SESSION_KEY in engine.SessionStore(key)
    assert [each.message for each in caplog.records if "was not kept" in each.message]


# Outages


def carry_out_by(send: Callable[[MemoryServer, Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have *send* take the place of both ends of the server in memory."""

    async def asend(server: MemoryServer, command: Any) -> Any:
        return send(server, command)

    monkeypatch.setattr(MemoryServer, "send", send)
    monkeypatch.setattr(MemoryServer, "asend", asend)


def break_server(monkeypatch: pytest.MonkeyPatch, verb: str, after: int = 0) -> None:
    """Have the server in memory refuse *verb*, once it has carried out so many of them."""
    answer, done = MemoryServer.send, []

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == verb:
            done.append(verb)
            if len(done) > after:
                raise StoreUnavailable("down")
        return answer(server, command)

    carry_out_by(send, monkeypatch)


def test_a_login_that_is_stored_outlives_an_outage(
    engine: Engine,
    clock: Clock,
    user: User,
    login: Login,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = [login(user), login(user)]
    with monkeypatch.context() as patched:
        break_server(patched, "of_user", after=1)
        clients.append(login(user))
    assert [client.is_logged_in for client in clients] == [True, True, True]
    assert [each.message for each in caplog.records if "was not kept" in each.message]
    login(user)
    assert len(list_sessions(user)) == MOST


@for_each("at_limit", ["oldest", "least_used", "deny"])
def test_an_outage_before_a_login_is_stored_changes_nothing(
    engine: Engine,
    settings: Settings,
    functions: Functions,
    monkeypatch: pytest.MonkeyPatch,
    at_limit: str,
) -> None:
    user = make_user()
    settings.MULTISESSION_AT_LIMIT = at_limit
    store = engine.SessionStore()
    store["cart"] = 1
    functions.call(store, "save")
    key = store.session_key
    log_in(store, user)
    with monkeypatch.context() as patched:
        break_server(patched, "of_user")
        with pytest.raises(StoreUnavailable):
            functions.call(store, "save")
    assert functions.call(engine.SessionStore(), "exists", key)
    functions.call(store, "save")
    assert len(list_sessions(user)) == 1


def test_the_limit_holds_where_the_answer_to_a_login_was_lost(
    engine: Engine,
    clock: Clock,
    functions: Functions,
    user: User,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = [login(user), login(user)]
    store = engine.SessionStore()
    log_in(store, user)
    answer = MemoryServer.send

    def lose(server: MemoryServer, command: Any) -> Any:
        found = answer(server, command)
        if command.verb == "add":
            raise StoreUnavailable("lost")
        return found

    with monkeypatch.context() as patched:
        carry_out_by(lose, patched)
        with pytest.raises(StoreUnavailable):
            functions.call(store, "save")
    functions.call(store, "save")
    assert [client.is_logged_in for client in clients] == [False, True]
    assert len(list_sessions(user)) == MOST


@for_each("at_limit", ["oldest", "deny"])
@for_each("verb", ["add", "move"])
def test_a_login_that_was_ended_before_its_answer_was_seen_has_another_id(
    engine: Engine,
    settings: Settings,
    functions: Functions,
    monkeypatch: pytest.MonkeyPatch,
    at_limit: str,
    verb: str,
) -> None:
    user, answer = make_user(), MemoryServer.send
    settings.MULTISESSION_AT_LIMIT = at_limit
    store = engine.SessionStore()
    if verb == "move":
        store["cart"] = 1
        functions.call(store, "save")
    log_in(store, user)

    def lose(server: MemoryServer, command: Any) -> Any:
        found = answer(server, command)
        if command.verb == verb and command.arguments[-1 if verb == "add" else 2].user_id:
            raise StoreUnavailable("lost")
        return found

    with monkeypatch.context() as patched:
        carry_out_by(lose, patched)
        with pytest.raises(StoreUnavailable):
            functions.call(store, "save")
    (stored,) = list_sessions(user)
    assert functions.end_session(user, stored.id)
    functions.call(store, "save")
    assert stored.id not in {each.id for each in list_sessions(user)}


def test_what_a_newer_release_wrote_keeps_no_user_out(
    deny: None, engine: Engine, functions: Functions, user: User, login: Login
) -> None:
    for place_of in (limits.place_of, marks.place_of):
        record = make_record(user=None)
        newer = with_bytes(record, record.raw[:1] + b"\x02" + record.raw[2:])
        assert carry_out(engine.driver.add(place_of(str(user.pk).encode(), b""), newer))
    assert login(user).is_logged_in
    assert len(list_sessions(user)) == 1
    assert functions.end_all_sessions(user) == 1
    assert list_sessions(user) == []


def land_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first move time out, and be carried out immediately before the second one."""
    answer, late = MemoryServer.send, []

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == "move":
            late.append(command)
            if len(late) == 1:
                raise StoreUnavailable("timed out")
            monkeypatch.undo()
            answer(server, late[0])
        return answer(server, command)

    carry_out_by(send, monkeypatch)


def begun_late(
    engine: Engine, functions: Functions, user: User, patched: pytest.MonkeyPatch
) -> DriverSessionStore:
    """Return a session with a login whose write timed out, and lands when it is saved again."""
    store = engine.SessionStore()
    store["cart"] = 1
    functions.call(store, "save")
    store = engine.SessionStore(store.session_key)
    functions.call(store, "load")
    log_in(store, user)
    land_late(patched)
    with pytest.raises(StoreUnavailable):
        functions.call(store, "save")
    return store


def test_the_limit_holds_where_the_write_of_a_login_lands_late(
    engine: Engine,
    clock: Clock,
    functions: Functions,
    user: User,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = [login(user), login(user)]
    with monkeypatch.context() as patched:
        store = begun_late(engine, functions, user, patched)
        functions.call(store, "save")
    assert [client.is_logged_in for client in clients] == [False, True]
    assert len(list_sessions(user)) == MOST


def test_a_login_whose_write_lands_late_ends_with_all_others(
    engine: Engine,
    clock: Clock,
    functions: Functions,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        store = begun_late(engine, functions, user, patched)
        clock.advance(seconds=1)
        functions.end_all_sessions(user)
        with pytest.raises(SessionEnded):
            functions.call(store, "save")
    assert list_sessions(user) == []


# A session that gets a new key while the index is read


def hide_once(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Leave the first record out of one list, once so many lists were made."""
    answer, listed = MemoryServer.send, []

    def send(server: MemoryServer, command: Any) -> Any:
        found = answer(server, command)
        if command.verb != "of_user":
            return found
        listed.append(command)
        return found._replace(records=found.records[1:]) if len(listed) == after + 1 else found

    carry_out_by(send, monkeypatch)


@for_each("at_limit", ["oldest", "deny"])
def test_a_session_that_one_list_misses_counts(
    engine: Engine, settings: Settings, login: Login, monkeypatch: pytest.MonkeyPatch, at_limit: str
) -> None:
    user = make_user()
    settings.MULTISESSION_AT_LIMIT = at_limit
    login(user)
    login(user)
    with monkeypatch.context() as patched, contextlib.suppress(SessionLimitReached):
        hide_once(patched, after=0 if at_limit == "deny" else 1)
        login(user)
    assert len(list_sessions(user)) == MOST


# A login that takes the place of its user's session


def logged_in(engine: Engine, user: User, key: str | None = None) -> DriverSessionStore:
    """Return the session *key*, or a new one, with a login that isn't saved."""
    store = engine.SessionStore(key)
    store.load()
    log_in(store, user)
    return store


def saved(store: DriverSessionStore) -> str | None:
    store.save()
    return store.session_key


def do_before(
    verbs: Collection[str], times: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have *act* done immediately before the server in memory carries out one of *verbs* so many times."""
    answer, asked = MemoryServer.send, []

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb in verbs:
            asked.append(command)
            if len(asked) == times:
                monkeypatch.undo()
                act()
        return answer(server, command)

    monkeypatch.setattr(MemoryServer, "send", send)


def test_a_login_beside_one_that_takes_the_place_of_a_session_has_room(
    deny: None, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = logged_in(engine, user, saved(logged_in(engine, user)))
    with monkeypatch.context() as patched:
        do_before(["move"], 1, lambda: saved(logged_in(engine, user)), patched)
        store.save()
    assert len(list_sessions(user)) == MOST


def test_a_session_that_a_login_took_the_place_of_between_two_lists_does_not_count(
    deny: None, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = saved(logged_in(engine, user))
    store = logged_in(engine, user)
    with monkeypatch.context() as patched:
        do_before(["of_user"], 2, lambda: saved(logged_in(engine, user, key)), patched)
        store.save()
    assert len(list_sessions(user)) == MOST


def test_a_login_that_takes_the_place_of_a_session_takes_no_seat(
    deny: None, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = logged_in(engine, user, saved(logged_in(engine, user)))
    assert commands_of(monkeypatch, store.save) == ["move", "get"]


@pytest.fixture
def key_kept(settings: Settings) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False


def test_a_login_ends_no_newer_login_that_kept_the_key_of_an_older_one(
    key_kept: None, clock: Clock, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [saved(logged_in(engine, user)) for _ in range(MOST)]
    store = logged_in(engine, user)
    with monkeypatch.context() as patched:
        do_before(
            ["delete_many", "retire"], 1, lambda: saved(logged_in(engine, user, keys[0])), patched
        )
        store.save()
    live = [SESSION_KEY in engine.SessionStore(key) for key in (*keys, store.session_key)]
    assert live == [True, False, True]


def test_a_session_that_is_saved_meanwhile_ends_at_the_limit_all_the_same(
    key_kept: None, clock: Clock, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = saved(logged_in(engine, user))
    saved(logged_in(engine, user))
    times = iter(range(5))
    answer = MemoryServer.send

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == "retire" and (number := next(times, None)) is not None:
            with monkeypatch.context() as undone:
                undone.setattr(MemoryServer, "send", answer)
                other = engine.SessionStore(key)
                other["page"] = number
                other.save()
        return answer(server, command)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryServer, "send", send)
        patched.setattr(limit, "MOST_PASSES", 2)
        saved(logged_in(engine, user))
    assert SESSION_KEY not in engine.SessionStore(key)
    assert len(list_sessions(user)) == MOST


def test_a_login_that_ends_itself_ends_no_newer_login_under_its_key(
    key_kept: None,
    settings: Settings,
    engine: Engine,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = saved(logged_in(engine, user))
    settle = limit.settle

    def others_log_in(*arguments: Any) -> Any:
        monkeypatch.undo()
        settings.MULTISESSION_MAX_SESSIONS = 9
        for _ in range(MOST):
            saved(logged_in(engine, user))
        do_before(["delete", "retire"], 1, lambda: saved(logged_in(engine, user, key)), monkeypatch)
        return settle(*arguments)

    monkeypatch.setattr(limit, "settle", others_log_in)
    saved(logged_in(engine, user, key))
    assert SESSION_KEY in engine.SessionStore(key)
    assert len(list_sessions(user)) == MOST


def test_a_session_that_another_user_took_over_stays_at_the_limit(
    key_kept: None, clock: Clock, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = saved(logged_in(engine, user)), make_user()
    saved(logged_in(engine, user))
    with monkeypatch.context() as patched:
        do_before(
            ["delete_many", "retire"], 1, lambda: saved(logged_in(engine, other, key)), patched
        )
        saved(logged_in(engine, user))
    assert len(list_sessions(other)) == 1
    assert len(list_sessions(user)) == MOST


# What it costs


def commands_of(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[str]:
    answer, sent = MemoryServer.send, []

    def send(server: MemoryServer, command: Any) -> Any:
        sent.append(command.verb)
        return answer(server, command)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryServer, "send", send)
        act()
    return sent


@for_each(
    "cost",
    [
        (None, "oldest", ["add", "get"]),
        (9, "oldest", ["of_user", "add", "get", "of_user"]),
        (9, "least_used", ["of_user", "add", "get", "of_user"]),
        (1, "oldest", ["of_user", "add", "get", "of_user", "of_user"]),
        (9, "deny", ["get", "of_user", "add", "add", "get", "replace"]),
    ],
)
def test_a_login_sends_as_many_commands(
    engine: Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    cost: tuple[int | None, str, list[str]],
) -> None:
    user = make_user()
    settings.MULTISESSION_MAX_SESSIONS, settings.MULTISESSION_AT_LIMIT, expected = cost
    store = engine.SessionStore()
    log_in(store, user)
    assert commands_of(monkeypatch, store.save) == expected
    store["page"] = 1
    assert commands_of(monkeypatch, store.save) == ["replace"]


def test_a_lowered_limit_ends_sessions_in_batches(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = None
    for _ in range(6):
        login(user)
    settings.MULTISESSION_MAX_SESSIONS = MOST
    store = engine.SessionStore()
    log_in(store, user)
    expected = ["of_user", "add", "get", "of_user", "delete_many", "of_user"]
    assert commands_of(monkeypatch, store.save) == expected
    assert len(list_sessions(user)) == MOST


def test_a_session_of_no_user_is_not_counted(
    deny: None, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine.SessionStore()
    store["cart"] = 1
    assert commands_of(monkeypatch, store.save) == ["add"]
