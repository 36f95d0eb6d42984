"""The engine that the site left fails, or an adoption is cut off: no request breaks, no session is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.sessions.backends import cache, db
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection, transaction

from django_multisession.core.keys import Verified
from django_multisession.core.records import Record, to_milliseconds
from django_multisession.core.secret import SecretText
from django_multisession.drivers import base
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import adopt
from tests.engine_fixtures import Engine
from tests.moving.conftest import Old, login
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import log_in, log_out, put, read, user
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = pytest.mark.django_db(transaction=True)


def take_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tables and caches of the old engine fail, as they do when their server is down."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise DatabaseError("no server at db.internal, password hunter2")

    async def afail(*_args: Any, **_kwargs: Any) -> Any:
        fail()

    from django.core.cache.backends.locmem import LocMemCache

    for kind, verb in [
        (db.SessionStore, "_get_session_from_db"),
        (db.SessionStore, "delete"),
        (LocMemCache, "get"),
        (LocMemCache, "delete"),
    ]:
        monkeypatch.setattr(kind, verb, fail)
    for kind, verb in [
        (db.SessionStore, "_aget_session_from_db"),
        (db.SessionStore, "adelete"),
        (LocMemCache, "aget"),
        (LocMemCache, "adelete"),
    ]:
        monkeypatch.setattr(kind, verb, afail)


def test_while_the_old_engine_is_down_its_clients_are_anonymous_and_keep_their_cookies(
    browser: Browser, old: Old, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = old.begin(browser, cart=["tea"], **login("ada"))
    with monkeypatch.context() as patch:
        take_away(patch)
        reply = browser.visit(user)
        assert (reply.status, reply.answer, reply.cookies) == (200, "", {})
    assert browser.key == key
    assert "can't be adopted: DatabaseError" in caplog.text
    assert "hunter2" not in caplog.text
    assert key not in caplog.text
    assert browser.visit(user).answer == "ada"


def test_a_login_goes_on_while_the_old_engine_is_down(
    browser: Browser, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.begin(browser, cart=["tea"])
    with monkeypatch.context() as patch:
        take_away(patch)
        assert browser.visit(log_in("ada")).new_key is not None
        assert browser.visit(user).answer == "ada"


@pytest.mark.parametrize("on_outage", ["error", "anonymous"])
def test_a_write_while_the_old_engine_is_down_logs_no_one_out(
    browser: Browser,
    old: Old,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    count_stored: Any,
    session_middleware: str,
    on_outage: str,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = on_outage
    key = old.begin(browser, cart=["tea"], **login("ada"))

    async def give_a_key(visit: Visit) -> None:
        await visit.session.cycle_key()

    async def create(visit: Visit) -> None:
        await visit.session.create()

    async def save(visit: Visit) -> None:
        await visit.session.set("city", "Paris")
        await visit.session.save()

    status = 503 if session_middleware == OURS else 500
    with monkeypatch.context() as patch:
        take_away(patch)
        for body in (put(city="Paris"), give_a_key, create, save):
            reply = browser.visit(body)
            assert (reply.status, reply.cookies) == (status, {})
    assert (browser.key, count_stored()) == (key, 0)
    assert browser.visit(user).answer == "ada"


def test_a_page_that_reads_while_the_old_engine_is_down_is_in_no_cache_and_keeps_the_cookie(
    browser: Browser,
    old: Old,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    session_middleware: str,
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    key = old.begin(browser, **login("ada"))
    with monkeypatch.context() as patch:
        take_away(patch)
        reply = browser.visit(user)
    assert (reply.status, reply.answer, browser.key) == (200, "", key)
    if session_middleware == OURS:
        assert "no-store" in reply.headers["Cache-Control"]
    assert browser.visit(user).answer == "ada"


def test_a_logout_while_the_old_engine_is_down_ends_the_session(
    browser: Browser, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.begin(browser, **login("ada"))
    thief = browser.copy()

    async def end(visit: Visit) -> None:
        await read(visit)
        await visit.session.delete()

    with monkeypatch.context() as patch:
        take_away(patch)
        browser.copy().visit(end)
    assert thief.visit(user).answer == ""


@pytest.mark.parametrize("verb", ["flush", "delete"])
def test_a_request_waits_once_for_an_old_engine_that_is_down(
    browser: Browser, old_db: Old, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    old_db.begin(browser, **login("ada"))
    asked = 0

    def fail(*_args: Any) -> Any:
        nonlocal asked
        asked += 1
        raise DatabaseError

    async def end(visit: Visit) -> None:
        await read(visit)
        await getattr(visit.session, verb)()
        await getattr(visit.session, verb)()

    with monkeypatch.context() as patch:
        for name in ("load", "delete", "aload", "adelete"):
            patch.setattr(db.SessionStore, name, fail)
        assert browser.visit(end).status == 200
    assert asked == 1


def test_a_logout_with_a_made_up_key_leaves_no_mark_for_longer_than_a_session(
    browser: Browser, old_db: Old, engine: Engine, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    browser.key = "a" * 32
    with monkeypatch.context() as patch:
        take_away(patch)
        browser.visit(log_out)
    adoption = adopt.adoption_of(
        engine.SessionStore()._inner.site, Verified("", "", foreign=SecretText("a" * 32))
    )
    assert adoption is not None
    mark = base.run(engine.driver.get(adoption.mark))
    assert isinstance(mark, Record)
    assert mark.ends_ms == to_milliseconds(clock.now) + settings.SESSION_COOKIE_AGE * 1000


def test_what_was_adopted_is_read_while_the_old_engine_is_down(
    browser: Browser, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.begin(browser, cart=["tea"])
    again = browser.copy()
    browser.visit(read)
    take_away(monkeypatch)
    assert again.visit(read).answer == {"cart": ["tea"]}
    assert again.key == browser.key


def test_a_copy_that_cannot_be_removed_is_not_adopted_again(
    browser: Browser,
    old: Old,
    monkeypatch: pytest.MonkeyPatch,
    forget_tombstones: Callable[[], None],
) -> None:
    key = old.begin(browser, cart=["tea"])
    thief = browser.copy()

    def fail(*_args: Any) -> Any:
        raise DatabaseError

    with monkeypatch.context() as patch:
        for kind in (db.SessionStore, cache.SessionStore):
            patch.setattr(kind, "delete", fail)
            patch.setattr(kind, "adelete", fail)
        browser.visit(log_in("ada"))
    assert old.holds(key)
    forget_tombstones()
    assert thief.visit(read).answer == {}


@pytest.mark.parametrize(
    "path",
    ["shop.no_such_module", "tests.moving.removed_app", "django_multisession.engines.tiered"],
)
def test_an_engine_that_cannot_be_opened_is_no_outage(
    engine: Engine, settings: Settings, path: str
) -> None:
    settings.MULTISESSION_MIGRATE_FROM = path
    is_ours = path.startswith("django_multisession.")
    key = engine.SessionStore()._get_new_session_key() if is_ours else "a" * 32
    with pytest.raises(ImproperlyConfigured):
        engine.SessionStore(key).get("cart")
    with pytest.raises(ImproperlyConfigured):
        asyncio.run(engine.SessionStore(key).aget("cart"))


def test_a_fault_of_the_table_leaves_the_transaction_of_the_page_usable(
    old_db: Old, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_store: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    monkeypatch.setattr(db.SessionStore, "_get_session_from_db", fail)
    with transaction.atomic():
        assert engine.SessionStore("a" * 32).get("cart") is None
        assert not connection.needs_rollback


class Cut(StoreUnavailable):
    """The connection broke."""


@pytest.mark.parametrize("is_carried_out", [False, True], ids=["not sent", "answer lost"])
@pytest.mark.parametrize("at", range(8))
def test_an_adoption_that_is_cut_off_anywhere_is_made_by_the_next_request(
    browser: Browser,
    old_db: Old,
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    at: int,
    is_carried_out: bool,
) -> None:
    old_db.begin(browser, cart=["tea"], **login("ada"))
    server, sent = engine.driver.server, 0

    def is_cut() -> bool:
        nonlocal sent
        sent += 1
        return sent == at + 1

    send, asend = server.send, server.asend

    def cut(command: Any) -> Any:
        is_last = is_cut()
        if is_last and not is_carried_out:
            raise Cut("cut")
        reply = send(command)
        if is_last:
            raise Cut("cut")
        return reply

    async def acut(command: Any) -> Any:
        is_last = is_cut()
        if is_last and not is_carried_out:
            raise Cut("cut")
        reply = await asend(command)
        if is_last:
            raise Cut("cut")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(server, "send", cut, raising=False)
        patch.setattr(server, "asend", acut, raising=False)
        browser.copy().visit(put(city="Paris"))
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer["cart"] == ["tea"]
