"""Several cookies of one name, as browsers send them: one per path and domain, in no useful order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as site_settings
from django.http import HttpRequest

from django_multisession.core import keys
from django_multisession.core.records import Reason, Record
from django_multisession.drivers import base
from django_multisession.session.store import MOST_OTHER_KEYS
from django_multisession.settings.conf import config
from django_multisession.testing.driver.fixtures import make_end
from django_multisession.testing.rows import for_each
from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser, Reply
from tests.web.conftest import MIDDLEWARE, OURS
from tests.web.pages import log_in, log_out, put, read, untouched, user
from tests.web.visits import Body, Visit, page

if TYPE_CHECKING:
    from pytest_django import Settings

FORGED = "f" * 40
BAD = ["", "short", FORGED, "x" * 3000, "é" * 20]


@pytest.fixture
def session_middleware() -> str:
    return OURS


def bring(browser: Browser, body: Body, *keys: str | None, name: str | None = None) -> Reply:
    """Ask for a page with several session cookies, in this order."""
    name = name or site_settings.SESSION_COOKIE_NAME
    line = "; ".join(f"{name}={key}" for key in keys)
    return ask(browser, body, line)


def ask(browser: Browser, body: Body, line: str) -> Reply:
    with page(body) as named:
        return browser.get(browser.path("visit", named), cookie=line)


def key_of(browser: Browser, **entries: str) -> str:
    """Return the key of a new session with *entries*."""
    key = browser.stranger().visit(put(**entries)).new_key
    assert key is not None
    return key


def storage_key_of(browser: Browser, key: str) -> str:
    other = browser.stranger()
    other.key = key
    return other.storage_key


# Which one


@for_each("bad", BAD)
def test_a_key_that_this_site_did_not_sign_is_passed_over(
    browser: Browser, engine: Engine, bad: str
) -> None:
    live = key_of(browser, city="Rome")
    for both in [(bad, live), (live, bad)]:
        reply = bring(browser, read, *both)
        assert (reply.status, reply.answer) == (200, {"city": "Rome"})
        assert reply.cookies == {}


def test_a_key_whose_session_is_forgotten_is_passed_over(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    old = key_of(browser, city="Oslo")
    clock.advance(seconds=site_settings.SESSION_COOKIE_AGE + 1)
    live = key_of(browser, city="Rome")
    for both in [(old, live), (live, old)]:
        reply = bring(browser, read, *both)
        assert reply.answer == {"city": "Rome"}
        assert reply.cookies == {}


def test_a_key_whose_session_was_ended_is_passed_over(browser: Browser, engine: Engine) -> None:
    ended, live = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, ended), make_end()))
    for both in [(ended, live), (live, ended)]:
        reply = bring(browser, read, *both)
        assert reply.answer == {"city": "Rome"}
        assert reply.cookies == {}


def test_of_two_live_sessions_the_first_is_taken(browser: Browser, engine: Engine) -> None:
    rome, oslo = key_of(browser, city="Rome"), key_of(browser, city="Oslo")
    assert bring(browser, read, rome, oslo).answer == {"city": "Rome"}
    assert bring(browser, read, oslo, rome).answer == {"city": "Oslo"}


async def cycle(visit: Visit) -> None:
    await visit.session.cycle_key()


def test_what_is_written_goes_to_the_session_that_was_read(
    browser: Browser, engine: Engine
) -> None:
    ended, live = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, ended), make_end()))
    assert bring(browser, put(tea="green"), ended, live).new_key == live
    assert bring(browser, read, live).answer == {"city": "Rome", "tea": "green"}


def test_two_keys_of_nothing_are_removed(browser: Browser, engine: Engine, clock: Clock) -> None:
    old, older = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    clock.advance(seconds=site_settings.SESSION_COOKIE_AGE + 1)
    reply = bring(browser, read, old, older)
    assert reply.answer == {}
    assert reply.deletes_the_cookie


def test_an_ended_session_beside_a_forgotten_one_keeps_its_cookie_untouched(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    forgotten = key_of(browser, city="Oslo")
    clock.advance(seconds=site_settings.SESSION_COOKIE_AGE + 1)
    ended = key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, ended), make_end(Reason.LEFT)))
    for both in [(ended, forgotten), (forgotten, ended)]:
        reply = bring(browser, read, *both)
        assert (reply.answer, dict(reply.cookies)) == ({}, {})
        assert bring(browser, put(city="Oslo"), *both).status == 400


@pytest.mark.parametrize("is_first", [True, False])
def test_after_an_end_from_elsewhere_one_write_begins_a_new_session(
    browser: Browser, engine: Engine, clock: Clock, is_first: bool
) -> None:
    forgotten = key_of(browser, city="Oslo")
    clock.advance(seconds=site_settings.SESSION_COOKIE_AGE + 1)
    ended = key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, ended), make_end(Reason.ENDED)))
    both = (ended, forgotten) if is_first else (forgotten, ended)
    reply = bring(browser, read, *both)
    assert (reply.answer, dict(reply.cookies)) == ({}, {})
    new = bring(browser, put(city="Oslo"), *both).new_key
    assert new not in (None, *both)
    assert bring(browser, put(city="Bonn"), *both).status == 400
    assert bring(browser, read, new).answer == {"city": "Oslo"}


@pytest.mark.parametrize("is_login", [True, False], ids=["login", "cycle_key"])
def test_a_cookie_whose_session_has_a_new_key_hides_the_next_one(
    browser: Browser, engine: Engine, *, is_login: bool
) -> None:
    """The response must not set the next cookie over the one that is on its way."""
    late, live = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    new = bring(browser, log_in("ada") if is_login else cycle, late).new_key
    assert bring(browser, read, late, live).answer == {}
    reply = bring(browser, put(tea="green"), late, live)
    assert (reply.status, dict(reply.cookies)) == (400, {})
    assert bring(browser, read, live).answer == {"city": "Rome"}
    # The new key's own cookie is found behind the old one.
    assert bring(browser, read, late, new).answer == {"city": "Oslo"}


def test_a_logout_ends_what_a_new_key_made_of_an_earlier_cookie(
    browser: Browser, engine: Engine
) -> None:
    late, live = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    new = bring(browser, cycle, late).new_key
    assert new is not None
    assert bring(browser, log_out, late, live).deletes_the_cookie
    for key in (new, live):
        assert not isinstance(base.run(engine.driver.get(storage_key_of(browser, key))), Record)


def test_a_login_with_several_cookies_is_a_login(browser: Browser, engine: Engine) -> None:
    ended, live = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, ended), make_end()))
    new = bring(browser, log_in("ada"), FORGED, ended, live).new_key
    assert new not in (None, ended, live)
    assert bring(browser, user, live, new).answer == "ada"
    assert bring(browser, read, live, new).answer == {"city": "Rome"}


def test_a_login_under_a_new_key_is_not_put_under_one_that_was_offered(
    browser: Browser, engine: Engine
) -> None:
    first, second = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    new = bring(browser, log_in("ada"), first, second).new_key
    assert new not in (None, first, second)
    assert bring(browser, read, second).answer == {"city": "Rome"}


def test_a_logout_ends_every_session_that_the_client_brought(
    browser: Browser, engine: Engine
) -> None:
    rome, oslo = key_of(browser, city="Rome"), key_of(browser, city="Oslo")
    assert bring(browser, log_out, FORGED, rome, oslo).deletes_the_cookie
    for key in (rome, oslo):
        assert not isinstance(base.run(engine.driver.get(storage_key_of(browser, key))), Record)


def test_a_page_that_does_not_touch_its_session_leaves_both_cookies(
    browser: Browser, engine: Engine
) -> None:
    rome, oslo = key_of(browser, city="Rome"), key_of(browser, city="Oslo")
    assert bring(browser, untouched, rome, oslo).cookies == {}


def test_only_so_many_keys_are_looked_at(browser: Browser, engine: Engine) -> None:
    live = key_of(browser, city="Rome")
    unknown = [keys.make(config().signing_keys).session_key for _ in range(MOST_OTHER_KEYS + 1)]
    assert bring(browser, read, *unknown[1:], live).answer == {"city": "Rome"}
    assert bring(browser, read, *unknown, live).answer == {}


def test_forged_keys_and_repetitions_do_not_keep_the_good_one_from_being_found(
    browser: Browser, engine: Engine
) -> None:
    live = key_of(browser, city="Rome")
    unknown = keys.make(config().signing_keys).session_key
    forged = [f"{number:040}" for number in range(20)]
    assert bring(browser, read, *forged, live).answer == {"city": "Rome"}
    assert bring(browser, read, *[unknown] * 20, live).answer == {"city": "Rome"}


def test_a_cookie_without_a_name_is_passed_over(browser: Browser, engine: Engine) -> None:
    # "Set-Cookie: sessionid" makes browsers send it so.
    live = key_of(browser, city="Rome")
    name = site_settings.SESSION_COOKIE_NAME
    assert ask(browser, read, f"{name}={live}; {name}").answer == {"city": "Rome"}
    assert ask(browser, read, f"{name}; {name}={live}").answer == {"city": "Rome"}
    assert ask(browser, read, name).answer == {}


def test_no_key_is_logged(
    browser: Browser, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    live = key_of(browser, city="Rome")
    with caplog.at_level(logging.DEBUG):
        bring(browser, read, FORGED, "short", live)
    refused = [line for line in caplog.messages if "refused" in line]
    assert len(refused) == 1
    assert not any(key in caplog.text for key in (FORGED, live))


# Whose name is the cookie's


NAME = "__Host-shop"
#: What Python strips from a name, and browsers do not (RFC 6265bis, section 4.1.3, is the prefix's).
SPACES = ["\u2000", "\u00a0", "\u3000", "\u0085", "\u2028", "\x0b", "\x0c", "\x1c", "\x1f"]


@for_each("space", SPACES, ids=map(ascii, SPACES))
@for_each("before_the_name", [True, False])
def test_a_name_with_white_space_is_not_the_sessions(
    browser: Browser, engine: Engine, settings: Settings, space: str, before_the_name: bool
) -> None:
    # Any neighbouring subdomain can set such a cookie; none can set __Host-shop itself.
    settings.SESSION_COOKIE_NAME = NAME
    settings.SESSION_COOKIE_SECURE = True
    planted, own = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    name = f"{space}{NAME}" if before_the_name else f"{NAME}{space}"
    name = name.encode().decode("latin-1")
    assert ask(browser, read, f"{name}={planted}").answer == {}
    for line in (f"{NAME}={own}; {name}={planted}", f"{name}={planted}; {NAME}={own}"):
        assert ask(browser, read, line).answer == {"city": "Rome"}


@for_each("line", ["{0}={1}", "{0} = {1}", "a=b;{0}={1};c", "\t{0}\t=\t{1} ; x"])
def test_the_spaces_that_rfc_6265_drops_are_dropped(
    browser: Browser, engine: Engine, line: str
) -> None:
    live = key_of(browser, city="Rome")
    name = site_settings.SESSION_COOKIE_NAME
    assert ask(browser, read, line.format(name, live)).answer == {"city": "Rome"}


@pytest.mark.parametrize("quoted", ['"{0}"', "{0}"])
def test_a_quoted_value_is_the_value(browser: Browser, engine: Engine, quoted: str) -> None:
    live = key_of(browser, city="Rome")
    assert bring(browser, read, quoted.format(live)).answer == {"city": "Rome"}
    assert bring(browser, read, FORGED, quoted.format(live)).answer == {"city": "Rome"}


def test_a_name_that_only_ends_like_the_sessions_is_another(
    browser: Browser, engine: Engine
) -> None:
    live = key_of(browser, city="Rome")
    reply = ask(browser, read, f"my{site_settings.SESSION_COOKIE_NAME}={live}")
    assert (reply.answer, dict(reply.cookies)) == ({}, {})


class KeyFromHeader:
    """What sites do for clients without cookies."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if "X-Session" in request.headers:
            request.COOKIES[site_settings.SESSION_COOKIE_NAME] = request.headers["X-Session"]
        return self.get_response(request)


def test_a_key_that_the_sites_own_code_put_among_the_cookies_counts(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.KeyFromHeader", OURS, *MIDDLEWARE]
    rome, oslo = key_of(browser, city="Rome"), key_of(browser, city="Oslo")
    with page(read) as named:
        path = browser.path("visit", named)
        assert browser.get(path, **{"X-Session": rome}).answer == {"city": "Rome"}
        line = f"{site_settings.SESSION_COOKIE_NAME}={oslo}"
        assert browser.get(path, cookie=line, **{"X-Session": rome}).answer == {"city": "Rome"}
