"""What `django_multisession.middleware` does beyond Django's: headers, deletions, touches, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from django_multisession import middleware
from django_multisession.drivers import base
from django_multisession.testing.driver.fixtures import make_end
from django_multisession.testing.rows import for_each
from tests.conftest import Clock
from tests.engine_fixtures import Count, Engine
from tests.rows import restoring
from tests.web.browser import Browser, Reply
from tests.web.conftest import OURS
from tests.web.pages import crashing, failing, log_in, log_out, put, read, untouched
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def session_middleware() -> str:
    return OURS


def cache_control(reply: Reply) -> set[str]:
    return set(reply.headers.get("Cache-Control", "").split(", ")) - {""}


def cached_for_all(body: Body) -> Body:
    """Do *body* and say that every cache may keep the page."""

    async def page(visit: Visit) -> HttpResponse:
        await body(visit)
        return HttpResponse(headers={"Cache-Control": "public, max-age=600"})

    return page


# Caches


@pytest.mark.parametrize("change", [put(city="Rome"), log_in("ada")])
def test_a_page_that_sets_the_cookie_is_kept_by_no_cache(
    browser: Browser, engine: Engine, change: Body
) -> None:
    reply = browser.visit(cached_for_all(change))
    assert reply.new_key
    assert cache_control(reply) == {"private", "no-store", "max-age=600"}
    assert reply.varies_by_cookie


def test_a_page_that_removes_the_cookie_is_kept_by_no_cache(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(city="Rome"))
    reply = browser.visit(cached_for_all(log_out))
    assert reply.deletes_the_cookie
    assert {"private", "no-store"} <= cache_control(reply)
    assert reply.varies_by_cookie


def test_a_page_that_refuses_a_forged_cookie_unread_is_kept_by_no_cache(
    browser: Browser, engine: Engine
) -> None:
    browser.key = "f" * 40
    reply = browser.visit(cached_for_all(untouched))
    assert reply.deletes_the_cookie
    assert {"private", "no-store"} <= cache_control(reply)
    assert reply.varies_by_cookie


def test_an_untouched_page_is_left_to_every_cache(browser: Browser, engine: Engine) -> None:
    browser.visit(put(city="Rome"))
    reply = browser.visit(cached_for_all(untouched))
    assert cache_control(reply) == {"public", "max-age=600"}
    assert not reply.varies_by_cookie


def test_a_page_that_only_read_is_left_to_the_caches_of_its_cookie(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(city="Rome"))
    reply = browser.visit(cached_for_all(read))
    assert cache_control(reply) == {"public", "max-age=600"}
    assert reply.varies_by_cookie


# The deletion cookie


@for_each(
    ("attribute", "value"),
    [
        ("path", "/shop/"),
        ("domain", "shop.example"),
        ("secure", True),
        ("secure", False),
        ("httponly", True),
        ("httponly", False),
        ("samesite", "Strict"),
        ("samesite", "None"),
        ("samesite", False),
    ],
)
@restoring
def test_the_deletion_cookie_equals_the_set_cookie(
    browser: Browser, engine: Engine, settings: Settings, attribute: str, value: Any
) -> None:
    setattr(settings, f"SESSION_COOKIE_{attribute.upper()}", value)
    set_cookie = browser.visit(put(city="Rome")).cookie
    removed = browser.visit(log_out).cookie
    assert set_cookie is not None
    assert removed is not None
    for name in ("path", "domain", "secure", "httponly", "samesite"):
        assert set_cookie[name] == removed[name]
    assert (removed.value, removed["max-age"]) == ("", 0)
    assert removed["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"


# Touches and saves that nobody asked for


async def end(visit: Visit, engine: Engine, storage_key: str) -> None:
    if visit.request.path.startswith("/a"):
        await base.arun(engine.driver.delete(storage_key, make_end()))
    else:
        base.run(engine.driver.delete(storage_key, make_end()))


def ending_it_before_the_response(browser: Browser, engine: Engine, body: Body) -> Body:
    """Do *body*, and then the session is ended from elsewhere."""
    storage_key = browser.storage_key

    async def page(visit: Visit) -> Any:
        answer = await body(visit)
        await end(visit, engine, storage_key)
        return answer

    return page


def test_a_touch_that_finds_its_record_gone_says_nothing(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    clock.advance(seconds=120)
    reply = browser.visit(ending_it_before_the_response(browser, engine, read))
    assert (reply.status, reply.answer) == (200, {"city": "Rome"})
    assert reply.cookies == {}


def test_a_save_of_every_request_that_finds_its_record_gone_says_nothing(
    browser: Browser, engine: Engine, settings: Settings, count_stored: Count
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser.visit(put(city="Rome"))
    before = count_stored()
    reply = browser.visit(ending_it_before_the_response(browser, engine, read))
    assert reply.status == 200
    assert reply.cookies == {}
    assert count_stored() == before


def test_a_change_that_finds_its_record_gone_is_interrupted(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(city="Rome"))
    reply = browser.visit(ending_it_before_the_response(browser, engine, put(city="Oslo")))
    assert reply.status == 400
    assert reply.cookies == {}


def test_a_touched_page_gets_its_cookie_anew(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    key = browser.visit(put(city="Rome")).new_key
    clock.advance(seconds=120)
    reply = browser.visit(read)
    assert reply.new_key == key


@pytest.mark.parametrize("fault", [failing, crashing])
def test_a_page_that_fails_saves_nothing_and_keeps_the_cookie(
    browser: Browser, engine: Engine, clock: Clock, fault: Callable[[Body], Body]
) -> None:
    browser.visit(put(city="Rome"))
    clock.advance(seconds=120)
    reply = browser.visit(fault(put(city="Oslo")))
    assert reply.status == 500
    assert reply.cookies == {}
    assert browser.visit(read).answer == {"city": "Rome"}


# What else may be in the place of a session


@pytest.mark.parametrize("backend", ["cache", "signed_cookies"])
def test_sessions_of_other_engines_work_as_under_djangos_middleware(
    browser: Browser, settings: Settings, backend: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{backend}"
    assert browser.visit(put(city="Rome")).new_key
    assert browser.visit(read).answer == {"city": "Rome"}
    assert browser.visit(log_out).deletes_the_cookie
    assert browser.visit(read).answer == {}


def test_a_request_whose_session_was_taken_away_is_answered(
    browser: Browser, engine: Engine
) -> None:
    async def take_away(visit: Visit) -> None:
        del visit.request.session

    browser.visit(put(city="Rome"))
    reply = browser.visit(take_away)
    assert (reply.status, dict(reply.cookies)) == (200, {})


def test_a_streamed_page_gets_its_cookie(browser: Browser, engine: Engine) -> None:
    async def chunks() -> AsyncIterator[str]:
        yield "a page"

    async def stream(visit: Visit) -> StreamingHttpResponse:
        await visit.session.set("city", "Rome")
        return StreamingHttpResponse(chunks() if browser.is_async else ["a page"])

    assert browser.visit(stream).new_key
    assert browser.visit(read).answer == {"city": "Rome"}


# Outages


async def change_unread(visit: Visit) -> None:
    await visit.session.set("city", "Oslo")


@pytest.mark.parametrize("mode", ["error", "anonymous"])
@pytest.mark.parametrize("change", [put(city="Oslo"), log_in("ada"), change_unread])
def test_a_page_that_changes_the_session_in_an_outage_is_a_503_and_keeps_the_cookie(
    browser: Browser,
    network_engine: Engine,
    unreachable: Callable[[], None],
    settings: Settings,
    mode: str,
    change: Body,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = mode
    browser.visit(put(city="Rome"))
    unreachable()
    reply = browser.visit(change)
    assert reply.status == 503
    assert reply.headers["Retry-After"] == str(middleware.RETRY_AFTER)
    assert cache_control(reply) == {"private", "no-store"}
    assert reply.cookies == {}


def test_a_new_session_that_cannot_be_stored_is_a_503_under_wsgi_and_asgi(
    network_engine: Engine, unreachable: Callable[[], None], rf: RequestFactory
) -> None:
    def begin(request: HttpRequest) -> HttpResponse:
        request.session["city"] = "Oslo"
        return HttpResponse("saved")

    async def begin_async(request: HttpRequest) -> HttpResponse:
        await request.session.aset("city", "Oslo")
        return HttpResponse("saved")

    unreachable()
    statuses = [
        middleware.SessionMiddleware(begin)(rf.get("/")).status_code,
        asyncio.run(middleware.SessionMiddleware(begin_async)(rf.get("/"))).status_code,
    ]
    assert statuses == [503, 503]


def test_a_page_that_reads_in_an_outage_is_a_503(
    browser: Browser, network_engine: Engine, unreachable: Callable[[], None]
) -> None:
    browser.visit(put(city="Rome"))
    unreachable()
    reply = browser.visit(read)
    assert (reply.status, dict(reply.cookies)) == (503, {})
    assert reply.body == b"The service is unavailable. Please try again soon.\n"


def test_a_page_that_reads_nobodys_session_in_an_outage_is_kept_by_no_cache(
    browser: Browser,
    network_engine: Engine,
    unreachable: Callable[[], None],
    settings: Settings,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    browser.visit(put(city="Rome"))
    unreachable()
    reply = browser.visit(cached_for_all(read))
    assert (reply.status, dict(reply.cookies)) == (200, {})
    assert {"private", "no-store"} <= cache_control(reply)


@pytest.mark.parametrize("mode", ["error", "anonymous"])
@pytest.mark.parametrize("body", [untouched, read])
def test_a_save_of_every_request_in_an_outage_fails_no_page_that_changed_nothing(
    browser: Browser,
    network_engine: Engine,
    unreachable: Callable[[], None],
    settings: Settings,
    mode: str,
    body: Body,
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    settings.MULTISESSION_ON_OUTAGE = mode
    browser.visit(put(city="Rome"))
    unreachable()
    reply = browser.visit(body)
    read_failed = body is read and mode == "error"
    assert (reply.status, dict(reply.cookies)) == (503 if read_failed else 200, {})


def test_the_503_is_the_sites_own_page(
    browser: Browser, network_engine: Engine, unreachable: Callable[[], None], settings: Settings
) -> None:
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    ("django.template.loaders.locmem.Loader", {"503.html": "<h1>Back soon</h1>"})
                ]
            },
        }
    ]
    browser.visit(put(city="Rome"))
    unreachable()
    reply = browser.visit(read)
    assert (reply.status, reply.body) == (503, b"<h1>Back soon</h1>")
    assert reply.headers["Content-Type"].startswith("text/html")
