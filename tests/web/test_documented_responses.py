"""The tables of responses in the documentation are what each middleware answers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest

from django_multisession.drivers import base
from django_multisession.exceptions import (
    EntryNotSerializable,
    SessionConflict,
    SessionEnded,
    SessionLimitReached,
    SessionTooLarge,
    StoreUnavailable,
)
from django_multisession.testing.driver.fixtures import make_end
from django_multisession.testing.rows import for_each
from tests.djangos import MiddlewareMixin
from tests.engine_fixtures import Engine, use_engine
from tests.web.browser import Browser, Reply
from tests.web.conftest import DJANGOS
from tests.web.pages import failing, log_in, log_out, meanwhile, put, read, untouched
from tests.web.visits import Visit, page

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

DOCS = Path(__file__).parents[2] / "docs"
FORGED = "A" * 40


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """What a scenario plays with."""

    browser: Browser
    settings: Settings
    clock: Clock
    engine: Engine

    def with_session(self) -> Browser:
        self.browser.visit(put(cart=["tea"]))
        return self.browser

    def late(self) -> Browser:
        """Return a browser with the cookie from before a login."""
        late = self.with_session().copy()
        self.browser.visit(log_in("ada"))
        return late

    def logged_out(self) -> Browser:
        """Return a browser with the cookie from before a logout in another tab."""
        late = self.with_session().copy()
        self.browser.visit(log_out)
        return late

    def ended_from_elsewhere(self) -> Browser:
        """Return a browser whose session was ended by its key."""
        browser = self.with_session()
        base.run(self.engine.driver.delete(browser.storage_key, make_end()))
        return browser

    def long_after(self) -> Browser:
        """Return a browser whose session is due to be touched."""
        browser = self.with_session()
        self.clock.advance(timedelta(minutes=2))
        return browser

    def without_server(self, on_outage: str) -> Browser:
        browser = self.with_session()
        self.settings.MULTISESSION_ON_OUTAGE = on_outage
        self.settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1/0"}
        return browser

    def rotated(self) -> Browser:
        browser = self.with_session()
        self.settings.SECRET_KEY_FALLBACKS = [self.settings.SECRET_KEY]
        self.settings.SECRET_KEY = "a new one " * 6
        return browser

    def saving_always(self, browser: Browser) -> Browser:
        self.settings.SESSION_SAVE_EVERY_REQUEST = True
        return browser

    def until_the_browser_closes(self) -> Browser:
        self.settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
        return self.long_after()

    def expired(self) -> Browser:
        browser = self.with_session()
        self.clock.advance(timedelta(days=15))
        return browser


def with_key(browser: Browser, key: str) -> Browser:
    browser.key = key
    return browser


def with_two_cookies(browser: Browser, *session_keys: str | None) -> Reply:
    """Read, with several cookies of one name, as a browser sends them."""
    header = "; ".join(f"sessionid={session_key}" for session_key in session_keys)
    with page(read) as name:
        return browser.get(browser.path("visit", name), cookie=header)


class ReadingMiddleware(MiddlewareMixin):
    """Uses the session before the view does."""

    def process_request(self, request: HttpRequest) -> None:
        request.session.get("cart")


async def cycle(visit: Visit) -> None:
    await visit.session.cycle_key()


def read_by_a_middleware(site: Site) -> Reply:
    browser = site.without_server("error")
    reading = f"{ReadingMiddleware.__module__}.{ReadingMiddleware.__qualname__}"
    site.settings.MIDDLEWARE = [*site.settings.MIDDLEWARE, reading]
    return browser.visit(untouched)


def overtaken_by_a_logout(site: Site) -> Reply:
    browser = site.long_after()
    return browser.visit(meanwhile(browser.copy(), log_out, read))


#: The first column of a table → the response.
SCENARIOS: dict[str, Callable[[Site], Reply]] = {
    "uses no session": lambda site: site.with_session().visit(untouched),
    "reads": lambda site: site.with_session().visit(read),
    "reads, a touch is due": lambda site: site.long_after().visit(read),
    "reads, a touch is due, the cookie is browser-length": lambda site: (
        site.until_the_browser_closes().visit(read)
    ),
    "reads, a fallback of `SECRET_KEY` signed the cookie": lambda site: site.rotated().visit(read),
    "reads without a cookie": lambda site: site.browser.visit(read),
    "changes": lambda site: site.with_session().visit(put(city="Rome")),
    "changes without a cookie": lambda site: site.browser.visit(put(city="Rome")),
    "calls `login()`": lambda site: site.with_session().visit(log_in("ada")),
    "calls `cycle_key()`": lambda site: site.with_session().visit(cycle),
    "calls `logout()`": lambda site: site.with_session().visit(log_out),
    "changes, then a 5xx": lambda site: site.with_session().visit(failing(put(city="Rome"))),
    "calls `login()`, then a 5xx": lambda site: site.with_session().visit(failing(log_in("ada"))),
    "calls `logout()`, then a 5xx": lambda site: site.with_session().visit(failing(log_out)),
    "brings a forged cookie, uses no session": lambda site: with_key(site.browser, FORGED).visit(
        untouched
    ),
    "brings a forged cookie, reads": lambda site: with_key(site.browser, FORGED).visit(read),
    "brings its session's cookie and a forged one, reads": lambda site: with_two_cookies(
        site.browser, site.with_session().key, FORGED
    ),
    "brings an expired session's cookie, uses no session": lambda site: site.expired().visit(
        untouched
    ),
    "brings an expired session's cookie, reads": lambda site: site.expired().visit(read),
    "brings an expired session's cookie, changes": lambda site: site.expired().visit(
        put(city="Rome")
    ),
    "brings the cookie from before a login, reads": lambda site: site.late().visit(read),
    "brings the cookie from before a login, changes": lambda site: site.late().visit(
        put(city="Rome")
    ),
    "brings the cookie from before a login, calls `login()`": lambda site: site.late().visit(
        log_in("ada")
    ),
    "brings the cookie from before a login, calls `logout()`": lambda site: site.late().visit(
        log_out
    ),
    "brings the cookie from before a login, every request is saved": lambda site: (
        site.saving_always(site.late()).visit(untouched)
    ),
    "brings a logged-out session's cookie, reads": lambda site: site.logged_out().visit(read),
    "brings a logged-out session's cookie, changes": lambda site: site.logged_out().visit(
        put(city="Rome")
    ),
    "brings a logged-out session's cookie, calls `logout()`": lambda site: site.logged_out().visit(
        log_out
    ),
    "brings the cookie of a session ended from elsewhere, reads": lambda site: (
        site.ended_from_elsewhere().visit(read)
    ),
    "brings the cookie of a session ended from elsewhere, changes": lambda site: (
        site.ended_from_elsewhere().visit(put(city="Rome"))
    ),
    "reads, a touch is due, a logout is faster": overtaken_by_a_logout,
    "uses no session, every request is saved": lambda site: site.saving_always(
        site.with_session()
    ).visit(untouched),
    "outage, uses no session": lambda site: site.without_server("error").visit(untouched),
    "outage, reads without a cookie": lambda site: (
        site.without_server("error").stranger().visit(read)
    ),
    'outage, `"error"`, a middleware below reads': read_by_a_middleware,
    'outage, `"error"`, reads': lambda site: site.without_server("error").visit(read),
    'outage, `"error"`, changes': lambda site: site.without_server("error").visit(put(city="Rome")),
    'outage, `"anonymous"`, reads': lambda site: site.without_server("anonymous").visit(read),
    'outage, `"anonymous"`, changes': lambda site: site.without_server("anonymous").visit(
        put(city="Rome")
    ),
}


#: What a view may let out.
RAISED: tuple[type[Exception], ...] = (
    StoreUnavailable,
    SessionConflict,
    SessionTooLarge,
    EntryNotSerializable,
    SessionEnded,
    SessionLimitReached,
    SynchronousOnlyOperation,
)


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Engine:
    return use_engine("redis-8.2", settings, running_servers)


@pytest.fixture
def played(browser: Browser, settings: Settings, clock: Clock, engine: Engine) -> Site:
    return Site(browser, settings, clock, engine)


def table(page_name: str, columns: int) -> dict[str, tuple[str, ...]]:
    """Return the rows of the table of responses, without backquotes but in the first column."""
    text = (DOCS / page_name).read_text(encoding="utf-8")
    body = re.search(r"^\| the request \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert body is not None
    rows = {}
    for line in body.group(1).splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        assert len(cells) == columns
        assert name not in rows
        rows[name] = tuple(cell.strip("`") for cell in cells)
    return rows


OURS = table("reference/middleware.md", 4)
DIFFERENT = table("explanation/under-djangos-middleware.md", 4)


def cells_of(reply: Reply) -> tuple[str, str, str, str]:
    """Return status, cookie, Cache-Control and Vary as the reference says them."""
    cookie = "set" if reply.new_key else "removed" if reply.deletes_the_cookie else "kept"
    directives = reply.headers.get("Cache-Control", "").split(", ")
    return (
        str(reply.status),
        cookie,
        ", ".join(sorted(directives, reverse=True)),
        "yes" if reply.varies_by_cookie else "",
    )


def test_every_row_is_played() -> None:
    assert OURS.keys() == SCENARIOS.keys()
    assert DIFFERENT.keys() <= SCENARIOS.keys()


@for_each("name", DIFFERENT)
def test_a_row_that_differs_says_what_the_reference_says_of_ours(name: str) -> None:
    djangos, ours = DIFFERENT[name][:2], DIFFERENT[name][2:]
    assert ours == OURS[name][:2]
    assert djangos != ours


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_response_is_what_the_documentation_says(
    name: str, played: Site, session_middleware: str
) -> None:
    cells = cells_of(SCENARIOS[name](played))
    if session_middleware == DJANGOS:
        expected = DIFFERENT[name][:2] if name in DIFFERENT else OURS[name][:2]
        assert cells[:3] == (*expected, "")
    else:
        assert cells == OURS[name]


def status_codes() -> list[tuple[str, str, str]]:
    """Return exception, status under ours and under Django's."""
    text = (DOCS / "reference/exceptions.md").read_text(encoding="utf-8")
    found: list[tuple[str, str, str]] = re.findall(
        r"^\| `(\w+)` \| (\d{3})(?: with `Retry-After: 5`)? \| (\d{3}) \|$", text, re.MULTILINE
    )
    return found


def test_every_exception_that_leaves_the_store_has_its_status_codes() -> None:
    documented = {name for name, _ours, _djangos in status_codes()}
    assert documented == {each.__name__ for each in RAISED}


@pytest.mark.parametrize("exception", RAISED)
def test_an_exception_becomes_the_status_code_that_the_documentation_says(
    exception: type[Exception], played: Site, session_middleware: str
) -> None:
    async def raising(_visit: Visit) -> None:
        raise exception

    documented = {name: (ours, djangos) for name, ours, djangos in status_codes()}
    ours, djangos = documented[exception.__name__]
    expected = djangos if session_middleware == DJANGOS else ours
    assert played.browser.visit(raising).status == int(expected)
