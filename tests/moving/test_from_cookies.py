"""A site leaves the cookie engine: the sessions that clients hold go on in a server's engine."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from django_multisession.engines import cookie
from django_multisession.exceptions import StoreUnavailable
from django_multisession.user_sessions import end_all_sessions
from tests.engine_fixtures import COOKIE, REVOCABLE, use_cookies, use_engine
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import log_in, log_out, put, read, user
from tests.web.people import person

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

MINUTE = timedelta(minutes=1)
PATH = cookie.SessionStore.__module__


class Site:
    """A site on the cookie engine, which moves to one with a server."""

    def __init__(self, settings: Settings, there: str) -> None:
        self.settings, self.there = settings, there

    def move(self) -> None:
        self.settings.MULTISESSION_MIGRATE_FROM = PATH
        self.settings.SESSION_ENGINE = self.there


@pytest.fixture(params=[COOKIE, REVOCABLE])
def moving_site(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Site:
    there = use_engine("database-sqlite", settings, running_servers).path
    use_cookies(request.param, settings, running_servers)
    return Site(settings, there)


@pytest.fixture
def engine(moving_site: Site) -> None:
    """The site's own fixture sets one."""


@pytest.fixture
def session_middleware() -> str:
    """What moves doesn't depend on it."""
    return OURS


pytestmark = pytest.mark.django_db(transaction=True)


def test_a_login_moves_with_everything_kept(
    browser: Browser, moving_site: Site, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=3)
    browser.visit(put(cart=["tea"]))
    browser.visit(log_in("ada"))
    clock.advance(timedelta(hours=2))
    moving_site.move()
    reply = browser.visit(user)
    assert reply.answer == "ada"
    assert len(reply.new_key or "") == 40
    assert browser.visit(read).answer == {"cart": ["tea"]}
    clock.advance(timedelta(hours=1))
    assert browser.visit(user).answer == ""


def test_two_requests_with_different_cookies_of_one_session_share_it(
    browser: Browser, moving_site: Site
) -> None:
    browser.visit(put(cart=["tea"]))
    older = browser.copy()
    browser.visit(put(city="Paris"))
    assert older.key != browser.key
    moving_site.move()
    browser.visit(read)
    assert older.visit(read).answer == {"cart": ["tea"], "city": "Paris"}
    assert older.key == browser.key


def test_every_cookie_of_a_session_is_closed_by_its_move(
    browser: Browser, moving_site: Site, clock: Clock
) -> None:
    browser.visit(log_in("ada"))
    older = browser.copy()
    browser.visit(put(city="Paris"))
    newer = browser.copy()
    moving_site.move()
    assert browser.visit(user).answer == "ada"
    clock.advance(MINUTE)
    for each in (older, newer):
        reply = each.visit(user)
        assert (reply.answer, reply.deletes_the_cookie) == ("", True)
    assert browser.visit(user).answer == "ada"


@pytest.mark.parametrize("is_first", [True, False], ids=["first visit", "later"])
def test_a_logout_ends_every_cookie_of_a_session(
    browser: Browser, moving_site: Site, clock: Clock, is_first: bool
) -> None:
    browser.visit(log_in("ada"))
    thief = browser.copy()
    browser.visit(put(city="Paris"))
    moving_site.move()
    if not is_first:
        browser.visit(user)
    browser.visit(log_out)
    assert thief.copy().visit(user).answer == ""
    clock.advance(MINUTE)
    assert thief.visit(user).answer == ""


def test_an_expired_session_does_not_move(
    browser: Browser, moving_site: Site, clock: Clock, settings: Settings
) -> None:
    browser.visit(put(cart=["tea"]))
    moving_site.move()
    clock.advance(timedelta(seconds=settings.SESSION_COOKIE_AGE))
    assert browser.visit(read).answer == {}


def test_an_end_that_the_old_engine_knows_holds(
    browser: Browser, settings: Settings, running_servers: Running
) -> None:
    there = use_engine("database-sqlite", settings, running_servers).path
    use_cookies(REVOCABLE, settings, running_servers)
    browser.visit(log_in("ada"))
    thief = browser.copy()
    browser.visit(log_out)
    Site(settings, there).move()
    assert thief.visit(user).answer == ""


def test_a_process_that_still_runs_the_old_engine_finds_the_session_ended(
    browser: Browser, settings: Settings, running_servers: Running
) -> None:
    there = use_engine("database-sqlite", settings, running_servers).path
    use_cookies(REVOCABLE, settings, running_servers)
    browser.visit(log_in("ada"))
    before = browser.copy()
    Site(settings, there).move()
    assert browser.visit(user).answer == "ada"
    settings.SESSION_ENGINE = PATH
    del settings.MULTISESSION_MIGRATE_FROM
    reply = before.visit(user)
    assert (reply.answer, reply.cookies) == ("", {})


def test_all_sessions_of_a_user_are_ended_with_those_in_cookies(
    browser: Browser, moving_site: Site, clock: Clock
) -> None:
    browser.visit(log_in("ada"))
    moving_site.move()
    clock.advance(MINUTE)
    end_all_sessions(person("ada"))
    assert browser.visit(user).answer == ""


def test_a_made_up_cookie_costs_no_look_up(
    browser: Browser, moving_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.visit(put(cart=["tea"]))
    key = str(browser.key)
    moving_site.move()
    asked: list[Any] = []
    driver = type(use_driver(moving_site))
    monkeypatch.setattr(driver, "get", lambda *arguments: asked.append(arguments))
    for made_up in ("a" * 32, key[:-1] + ("A" if key[-1] != "A" else "B"), "x" * 4000):
        browser.key = made_up
        assert browser.visit(read).deletes_the_cookie
    assert asked == []


def use_driver(site: Site) -> Any:
    from django_multisession.engines import database

    assert database.SessionStore.__module__ == site.there
    return database.SessionStore.get_driver()


def test_while_the_server_of_ends_is_down_no_client_is_logged_out(
    browser: Browser, settings: Settings, running_servers: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = use_engine("database-sqlite", settings, running_servers).path
    use_cookies(REVOCABLE, settings, running_servers)
    browser.visit(log_in("ada"))
    Site(settings, there).move()

    def fail(*_args: Any) -> Any:
        raise StoreUnavailable("down")

    from django_multisession.engines import redis

    with monkeypatch.context() as patch:
        patch.setattr(redis.SessionStore.get_driver(), "get", fail)
        reply = browser.visit(user)
        assert (reply.status, reply.answer, reply.cookies) == (200, "", {})
    assert browser.visit(user).answer == "ada"


def test_nothing_lists_what_clients_hold(moving_site: Site) -> None:
    moving_site.move()
    with pytest.raises(CommandError, match="can't list its sessions"):
        call_command("migratesessions", stdout=io.StringIO())
