"""What the documentation says that Django's own engines and middleware do, they do."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import re
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import SyncToAsync
from django.contrib.sessions.backends import cache, db
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.db import connection
from django.http import HttpRequest, HttpResponse, parse_cookie
from django.test import AsyncRequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils.module_loading import import_string

from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.web.browser import Browser
from tests.web.conftest import DJANGOS, OURS
from tests.web.pages import failing, log_in, log_out, meanwhile, put, read, untouched, user
from tests.web.visits import Visit, run_at_once

if TYPE_CHECKING:
    from pytest_django import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "explanation/what-stock-django-does.md"
EVIDENCE = DOCS / "contributing/evidence.md"
FORGED = "a" * 32

pytestmark = pytest.mark.django_db


@pytest.fixture
def session_middleware() -> str:
    return DJANGOS


@pytest.fixture(autouse=True)
def stock(site: None, settings: Settings) -> None:
    settings.SESSION_ENGINE = cache.__name__
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    caches["default"].clear()


def stored(store: type[SessionBase], **entries: Any) -> str:
    session = store()
    for name, value in entries.items():
        session[name] = value
    session.save()
    assert session.session_key is not None
    return session.session_key


def a_browser() -> Browser:
    browser = Browser(is_async=False, run=run_at_once)
    browser.visit(put(cart=["tea"]))
    return browser


# Saving


def two_changes_at_once(settings: Settings) -> None:
    for store in (cache.SessionStore, db.SessionStore):
        session_key = stored(store, cart=[])
        first, second = store(session_key), store(session_key)
        first["city"], second["name"] = "Rome", "Ada"
        first.save()
        second.save()
        assert set(store(session_key).keys()) == {"cart", "name"}


def two_changes_of_one_entry(settings: Settings) -> None:
    session_key = stored(cache.SessionStore, city="Rome")
    first, second = cache.SessionStore(session_key), cache.SessionStore(session_key)
    first["city"], second["city"] = "Paris", "Oslo"
    first.save()
    second.save()
    assert cache.SessionStore(session_key)["city"] == "Oslo"


def a_nested_change(settings: Settings) -> None:
    session = cache.SessionStore(stored(cache.SessionStore, cart=[]))
    session["cart"].append("tea")
    assert not session.modified


def an_equal_value(settings: Settings) -> None:
    session = cache.SessionStore(stored(cache.SessionStore, city="Rome"))
    session["city"] = "Rome"
    assert session.modified


def a_logout_during_a_save(settings: Settings) -> None:
    session_key = stored(cache.SessionStore, name="Ada")
    session: Any = cache.SessionStore(session_key)
    session["name"] = "Zoë"
    session._cache = OvertakenCache(session_key)
    session.save()
    assert cache.SessionStore(session_key)["name"] == "Zoë"


class OvertakenCache:
    """A logout lands between its reading and its writing."""

    def __init__(self, session_key: str) -> None:
        self._session_key = session_key

    def get(self, *args: Any) -> Any:
        found = caches["default"].get(*args)
        cache.SessionStore(self._session_key).flush()
        return found

    def set(self, *args: Any) -> None:
        caches["default"].set(*args)


def a_database_that_refuses(settings: Settings) -> None:
    session = db.SessionStore(stored(db.SessionStore, city="Rome"))
    session["city"] = "Paris"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
        try:
            with pytest.raises(UpdateError):
                session.save()
        finally:
            cursor.execute("PRAGMA query_only = OFF")


def the_serializer(settings: Settings) -> None:
    # JSON would make a list of the tuple.
    city = {"tuple": (1, 2)}
    session_key = stored(cache.SessionStore, city=city)
    assert cache.SessionStore(session_key)["city"] == city


# Keys, logins and logouts


def a_forged_cookie(settings: Settings) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        db.SessionStore(FORGED).get("city")
    assert len(queries) == 1


def a_forged_cookie_that_is_saved(settings: Settings) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    for engine in (cache, db):
        settings.SESSION_ENGINE = engine.__name__
        reply = Browser(is_async=False, run=run_at_once, cookies={"sessionid": FORGED}).visit(
            untouched
        )
        assert engine.SessionStore().exists(reply.new_key or "")


def keys_in_the_store(settings: Settings) -> None:
    assert Session.objects.filter(pk=stored(db.SessionStore, city="Rome")).exists()


def the_same_user_again(settings: Settings) -> None:
    browser = a_browser()
    browser.visit(log_in("ada"))
    before = browser.key
    browser.visit(log_in("ada"))
    assert browser.key == before


def an_error_after_a_login(settings: Settings) -> None:
    browser = a_browser()
    assert browser.visit(failing(log_in("ada"))).cookie is None
    assert browser.visit(read).answer == {}


def a_late_read(settings: Settings) -> None:
    browser = a_browser()
    late = browser.copy()
    browser.visit(log_in("ada"))
    assert late.visit(read).deletes_the_cookie


def a_late_change(settings: Settings) -> None:
    browser = a_browser()
    late = browser.copy()
    browser.visit(log_in("ada"))
    assert late.visit(put(city="Rome")).new_key not in {None, browser.key}


def a_change_during_a_login(settings: Settings) -> None:
    browser = a_browser()
    body = meanwhile(browser.copy(), log_in("ada"), put(city="Rome"))
    assert browser.visit(body).status == 400


def a_changed_password(settings: Settings) -> None:
    browser, elsewhere = a_browser(), a_browser()
    for device in (browser, elsewhere):
        device.visit(log_in("ada"))
    browser.visit(change_password)
    assert cache.SessionStore().exists(elsewhere.key or "")
    assert elsewhere.visit(user).answer == ""
    assert browser.visit(user).answer == "ada"


async def change_password(visit: Visit) -> None:
    await visit.change_password("another")


def two_cycles_at_once(settings: Settings) -> None:
    session_key = stored(cache.SessionStore, city="Rome")
    first, second = cache.SessionStore(session_key), cache.SessionStore(session_key)
    for session in (first, second):
        session.get("city")
    for session in (first, second):
        session.cycle_key()
        session.save()
    assert first.session_key != second.session_key
    for session in (first, second):
        assert cache.SessionStore(session.session_key)["city"] == "Rome"


# Time


def a_read(settings: Settings) -> None:
    session_key = stored(db.SessionStore, city="Rome")
    before = Session.objects.get(pk=session_key).expire_date
    db.SessionStore(session_key).get("city")
    assert Session.objects.get(pk=session_key).expire_date == before
    assert a_browser().visit(read).cookies == {}


def purging(settings: Settings) -> None:
    with CaptureQueriesContext(connection) as queries:
        db.SessionStore.clear_expired()
    deletions = [query["sql"] for query in queries if query["sql"].startswith("DELETE")]
    assert len(deletions) == 1
    assert "LIMIT" not in deletions[0]


# Outages


def without_a_server(settings: Settings) -> Browser:
    browser = a_browser()
    backend = "django.core.cache.backends.redis.RedisCache"
    location = "redis://127.0.0.1:1/0"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location}}
    return browser


def a_read_in_an_outage(settings: Settings) -> None:
    reply = without_a_server(settings).visit(read)
    assert reply.status == 200
    assert reply.deletes_the_cookie


def a_change_in_an_outage(settings: Settings) -> None:
    assert without_a_server(settings).visit(put(city="Rome")).status == 500


# Async


def sync_use_in_an_event_loop(settings: Settings) -> None:
    session_key = stored(cache.SessionStore, city="Rome")

    async def view() -> Any:
        return cache.SessionStore(session_key).get("city")

    assert asyncio.run(view()) == "Rome"


def an_a_method(settings: Settings) -> None:
    with counted_hops() as gone:
        asyncio.run(cache.SessionStore(FORGED).aget("city"))
    assert gone


@contextlib.contextmanager
def counted_hops() -> Iterator[list[object]]:
    """Collect what goes through a thread."""
    gone: list[object] = []
    call = SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        gone.append(self)
        return await call(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncToAsync, "__call__", counted)
        yield gone


def hops_around(middleware: str, view: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> int:
    """Return how often *middleware* goes through a thread around an async view."""
    answer = import_string(middleware)(view)
    with counted_hops() as gone:
        asyncio.run(answer(AsyncRequestFactory().get("/")))
    return len(gone)


async def unused(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("city", ""))


async def changes(request: HttpRequest) -> HttpResponse:
    await request.session.aset("city", "Rome")
    return HttpResponse()


async def saves(request: HttpRequest) -> HttpResponse:
    await request.session.aset("city", "Rome")
    await request.session.asave()
    return HttpResponse()


def an_untouched_session(settings: Settings) -> None:
    assert hops_around(DJANGOS, unused) == 2


@for_each("view", [unused, reads, changes, saves])
@restoring
def test_each_middleware_takes_the_threads_that_the_documentation_says(
    settings: Settings, view: Callable[[HttpRequest], Awaitable[HttpResponse]]
) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.memory"
    assert hops_around(DJANGOS, view) == 2
    assert hops_around(OURS, view) == 0


def a_deleted_test_cookie(settings: Settings) -> None:
    session = cache.SessionStore()
    session.set_test_cookie()
    session.save()
    session = cache.SessionStore(session.session_key)
    asyncio.run(session.adelete_test_cookie())
    assert not session.modified


# Cookies


def a_cookie_that_is_set(settings: Settings) -> None:
    assert "Cache-Control" not in a_browser().visit(put(city="Rome")).headers


def two_cookies_of_a_name(settings: Settings) -> None:
    assert parse_cookie("sessionid=first; sessionid=last") == {"sessionid": "last"}


def white_space_in_a_name(settings: Settings) -> None:
    assert parse_cookie("\u2000__Host-sessionid=planted") == {"__Host-sessionid": "planted"}


def a_removal(settings: Settings) -> None:
    settings.SESSION_COOKIE_NAME = "__Http-sessionid"
    settings.SESSION_COOKIE_SECURE = True
    browser = a_browser()
    removed = browser.visit(log_out).cookie
    assert removed is not None
    assert not removed["httponly"]
    assert not removed["secure"]


#: The first column of the page's tables → what shows the third.
CASES: dict[str, Callable[[Settings], None]] = {
    "Two requests change two entries concurrently": two_changes_at_once,
    "Two requests change one entry concurrently": two_changes_of_one_entry,
    "A value changes inside a list": a_nested_change,
    "An equal value is set": an_equal_value,
    "A logout lands during a save": a_logout_during_a_save,
    "The server refuses a write": a_database_that_refuses,
    "The serializer": the_serializer,
    "A forged cookie": a_forged_cookie,
    "A forged cookie, every request is saved": a_forged_cookie_that_is_saved,
    "The store is read": keys_in_the_store,
    "The same user logs in again": the_same_user_again,
    "A 5xx after a login": an_error_after_a_login,
    "A late request with the cookie from before a login reads": a_late_read,
    "A late request with the cookie from before a login changes": a_late_change,
    "A change is under way during a login": a_change_during_a_login,
    "Two requests cycle one key concurrently": two_cycles_at_once,
    "A password changes": a_changed_password,
    "A page only reads": a_read,
    "Expired sessions are removed": purging,
    "The server is down, a page reads": a_read_in_an_outage,
    "The server is down, a page changes": a_change_in_an_outage,
    "A sync use in an async view": sync_use_in_an_event_loop,
    "An a-method": an_a_method,
    "An untouched session under ASGI": an_untouched_session,
    "`adelete_test_cookie()`": a_deleted_test_cookie,
    "A response sets the cookie": a_cookie_that_is_set,
    "Two cookies of the session's name": two_cookies_of_a_name,
    "A name behind Unicode white space": white_space_in_a_name,
    "A `__Http-` cookie is removed": a_removal,
}
#: Run by tests/wire/test_round_trips.py, on a real Redis.
RUN_ELSEWHERE = {"A login's cost"}


def rows() -> dict[str, tuple[str, str]]:
    """Return, for every case of the page, Django's function and what it does."""
    cases = re.findall(
        r"^\| \d+ \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    last = EVIDENCE.read_text(encoding="utf-8").partition("\n## What stock Django does\n")[2]
    # In the order of the tables, as tests/docs/test_evidence.py sees to.
    evidence = re.findall(r"^\d+\. (`.*): `test_", last, re.MULTILINE)
    return {case: (where, what) for (case, what), where in zip(cases, evidence, strict=True)}


def test_every_case_is_run_or_says_that_it_is_cited() -> None:
    cited = {case for case, (_where, what) in rows().items() if "*cited*" in what}
    assert rows().keys() == {*CASES, *RUN_ELSEWHERE} | cited
    assert not cited & CASES.keys()


@for_each("case", CASES)
@restoring
def test_stock_django_does_what_the_documentation_says(case: str, settings: Settings) -> None:
    CASES[case](settings)


@for_each(("case", "where"), [(case, where) for case, (where, _what) in rows().items()])
def test_the_function_of_django_that_the_documentation_names_is_there(
    case: str, where: str
) -> None:
    named = re.match(r"`([\w.]+):([\w.]+)`", where)
    assert named is not None
    operator.attrgetter(named[2])(import_module(f"django.{named[1]}"))
