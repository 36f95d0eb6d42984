"""A site moves from one engine of this package to another one, and back."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from django_multisession.core.records import Record
from django_multisession.drivers import base
from django_multisession.engines import mongodb, redis
from django_multisession.exceptions import StoreUnavailable
from django_multisession.user_sessions import end_all_sessions
from tests.engine_fixtures import use_engine
from tests.moving.conftest import forgetting
from tests.web.browser import Browser
from tests.web.pages import log_in, log_out, put, read, user
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

REDIS, MONGODB = redis.SessionStore.__module__, mongodb.SessionStore.__module__


class Site:
    """A site with both servers.

    Attributes:
        here: Path of its engine.
        there: Path of the other engine.
    """

    def __init__(self, settings: Settings, here: str, there: str) -> None:
        self.settings, self.here, self.there = settings, here, there

    def move(self) -> None:
        self.settings.SESSION_ENGINE, self.settings.MULTISESSION_MIGRATE_FROM = (
            self.there,
            self.here,
        )
        self.here, self.there = self.there, self.here


@pytest.fixture(params=[(REDIS, MONGODB), (MONGODB, REDIS)], ids=["redis first", "mongodb first"])
def moving_site(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Site:
    for name in ("redis-8.2", "mongodb-standalone"):
        use_engine(name, settings, running_servers)
    here, there = request.param
    settings.SESSION_ENGINE = here
    return Site(settings, here, there)


@pytest.fixture
def engine(moving_site: Site) -> None:
    """The site's own fixture sets one."""


def facts(browser: Browser, engine: str) -> dict[str, Any]:
    driver = import_module(engine).SessionStore.get_driver()
    record = base.run(driver.get(browser.storage_key))
    assert isinstance(record, Record)
    names = (
        "created_ms",
        "began_ms",
        "deadline_ms",
        "idle_ms",
        "user",
        "authenticated_ms",
        "series",
    )
    return {name: getattr(record, name) for name in names}


def test_a_login_moves_there_and_back_with_everything_kept(
    browser: Browser, moving_site: Site, clock: Clock
) -> None:
    browser.visit(put(cart=["tea"]))
    browser.visit(log_in("ada"))
    before, keys = facts(browser, moving_site.here), {browser.key}
    for _ in range(2):
        clock.advance(timedelta(hours=1))
        moving_site.move()
        assert browser.visit(user).answer == "ada"
        assert browser.visit(read).answer == {"cart": ["tea"]}
        assert browser.key not in keys
        keys.add(browser.key)
        assert facts(browser, moving_site.here) == before


def test_an_absolute_timeout_goes_on_from_the_login(
    browser: Browser, moving_site: Site, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=3)
    browser.visit(log_in("ada"))
    clock.advance(timedelta(hours=2))
    moving_site.move()
    assert browser.visit(user).answer == "ada"
    clock.advance(timedelta(hours=1))
    assert browser.visit(user).answer == ""


def test_a_captured_cookie_is_worth_nothing_after_a_logout(
    browser: Browser, moving_site: Site, forget: Callable[[str], None]
) -> None:
    browser.visit(log_in("ada"))
    thief = browser.copy()
    moving_site.move()
    browser.visit(user)
    moved = browser.copy()
    browser.visit(log_out)
    for each in (moving_site.here, moving_site.there):
        forget(each)
    assert thief.copy().visit(user).answer == ""
    assert moved.copy().visit(user).answer == ""
    moving_site.move()
    assert thief.copy().visit(user).answer == ""
    assert moved.copy().visit(user).answer == ""


def test_a_logout_as_the_first_request_ends_what_is_there(
    browser: Browser, moving_site: Site
) -> None:
    browser.visit(log_in("ada"))
    thief = browser.copy()
    moving_site.move()

    async def flush(visit: Visit) -> None:
        await visit.session.flush()

    assert browser.visit(flush).deletes_the_cookie
    assert thief.visit(user).answer == ""


def test_two_requests_adopt_one_session(browser: Browser, moving_site: Site) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    moving_site.move()
    browser.visit(put(city="Paris"))
    assert other.visit(put(name="Ada")).status == 200
    assert browser.key == other.key
    assert browser.visit(read).answer == {"cart": ["tea"], "city": "Paris", "name": "Ada"}


def test_an_unsigned_key_costs_no_look_up_in_an_engine_of_this_package(
    browser: Browser, moving_site: Site
) -> None:
    moving_site.move()
    browser.key = "a" * 32
    moving_site.settings.MULTISESSION_MONGODB = {"URI": "mongodb://127.0.0.1:1"}
    moving_site.settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1/0"}
    assert browser.visit(read).deletes_the_cookie


# In bulk


def migrate(*options: str) -> str:
    stdout = io.StringIO()
    call_command("migratesessions", *options, stdout=stdout)
    return stdout.getvalue()


def test_each_session_is_moved_in_bulk_with_its_times(
    browser: Browser, moving_site: Site, clock: Clock
) -> None:
    browsers = [browser.stranger() for _ in range(5)]
    for number, each in enumerate(browsers):
        each.visit(put(number=number))
    browsers[0].visit(log_in("ada"))
    before = facts(browsers[0], moving_site.here)
    clock.advance(timedelta(hours=1))
    moving_site.move()
    assert migrate("--dry-run").startswith("Dry run: 5 live sessions")
    said = migrate("--batch-size", "2")
    assert "Moved 5 sessions" in said
    assert "Nothing is left." in said
    assert browsers[0].visit(user).answer == "ada"
    assert facts(browsers[0], moving_site.here) == before
    for number, each in enumerate(browsers):
        assert each.visit(read).answer == {"number": number}
    assert "Moved 0 sessions" in migrate()


def test_a_session_that_was_moved_in_bulk_ends_when_it_would_have_ended(
    browser: Browser, moving_site: Site, clock: Clock, settings: Settings
) -> None:
    browser.visit(put(cart=["tea"]))
    clock.advance(timedelta(seconds=settings.SESSION_COOKIE_AGE) - timedelta(hours=1))
    moving_site.move()
    migrate()
    clock.advance(timedelta(hours=1))
    assert browser.visit(read).answer == {}


@pytest.fixture
def moved_twice(
    browser: Browser,
    moving_site: Site,
    settings: Settings,
    running_servers: Running,
    clock: Clock,
) -> Callable[[], None]:
    """Have the site move in bulk, and then to a third engine."""

    def move(visit_in_between: Callable[[], Any] = lambda: None) -> None:
        moving_site.move()
        migrate()
        visit_in_between()
        clock.advance(timedelta(minutes=1))
        settings.MULTISESSION_MIGRATE_FROM = moving_site.here
        settings.SESSION_ENGINE = use_engine("database-sqlite", settings, running_servers).path

    return move


@pytest.mark.django_db(transaction=True)
def test_a_client_that_stayed_away_during_a_move_comes_after_the_next_one(
    browser: Browser, moved_twice: Callable[..., None], clock: Clock
) -> None:
    browser.visit(put(cart=["tea"]))
    browser.visit(log_in("ada"))
    late = browser.copy()
    moved_twice()
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}
    clock.advance(timedelta(minutes=1))
    assert late.visit(user).answer == ""
    assert browser.visit(user).answer == "ada"


@pytest.mark.django_db(transaction=True)
def test_a_key_that_an_earlier_move_closed_stays_closed(
    browser: Browser, moved_twice: Callable[..., None]
) -> None:
    browser.visit(log_in("ada"))
    thief = browser.copy()
    moved_twice(lambda: browser.visit(user))
    assert thief.visit(user).answer == ""
    assert browser.visit(user).answer == "ada"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_down", [False, True])
def test_a_logout_by_a_client_that_stayed_away_ends_its_session(
    browser: Browser,
    moved_twice: Callable[..., None],
    moving_site: Site,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    is_down: bool,
) -> None:
    browser.visit(log_in("ada"))
    thief = browser.copy()
    moved_twice()

    async def flush(visit: Visit) -> None:
        await visit.session.flush()

    def fail(_key: str) -> Any:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        if is_down:
            driver = import_module(moving_site.here).SessionStore.get_driver()
            patch.setattr(driver, "get", fail)
        browser.visit(flush)
    assert thief.copy().visit(user).answer == ""
    clock.advance(timedelta(minutes=1))
    assert thief.visit(user).answer == ""


@pytest.mark.django_db(transaction=True)
def test_a_key_from_before_an_earlier_move_exists(
    browser: Browser, moved_twice: Callable[..., None], settings: Settings
) -> None:
    browser.visit(put(cart=["tea"]))
    moved_twice()
    store = import_module(settings.SESSION_ENGINE).SessionStore
    assert store().exists(browser.key)
    browser.visit(log_out)
    assert not store().exists(browser.key)


def test_a_client_that_stayed_away_finds_its_session_where_it_was(
    browser: Browser, moving_site: Site, forget: Callable[[str], None]
) -> None:
    browser.visit(put(cart=["tea"]))
    for _ in range(2):
        moving_site.move()
        migrate()
        forget(moving_site.there)
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_note_of_an_earlier_move_is_no_session(browser: Browser, moving_site: Site) -> None:
    browser.visit(put(cart=["tea"]))
    moving_site.move()
    browser.visit(read)
    moving_site.move()
    assert "Moved 1 session " in migrate()
    assert "Nothing is left." in migrate()
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_mark_that_all_sessions_of_a_user_were_ended_is_no_session(
    moving_site: Site, admin_user: User
) -> None:
    end_all_sessions(admin_user)
    moving_site.move()
    assert "Moved 0 sessions" in migrate()


@pytest.mark.parametrize("passes", [0, 1])
def test_while_the_old_engine_is_down_the_command_fails_and_moves_nothing_more(
    browser: Browser, moving_site: Site, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    browser.visit(put(cart=["tea"]))
    moving_site.move()
    driver = import_module(moving_site.there).SessionStore.get_driver()
    records, begun = driver.records, 0

    def cut(after: str, limit: int) -> base.Steps[base.Page]:
        nonlocal begun
        begun += not after
        if begun > passes:
            raise StoreUnavailable("cut")
        page: base.Page = yield from records(after, limit)
        return page

    with monkeypatch.context() as patch:
        patch.setattr(driver, "records", cut)
        with pytest.raises(CommandError, match=r"^cut (Nothing was moved|Moved 0 sessions)"):
            migrate("--batch-size", "1000")
    migrate()
    assert browser.visit(read).answer == {"cart": ["tea"]}


@pytest.fixture
def forget(settings: Settings, running_servers: Running) -> Callable[[str], None]:
    """Remove the tombstones of an engine, which its server would keep for a minute."""
    servers = {
        REDIS: running_servers.redis("redis-8.2").url,
        MONGODB: running_servers.mongodb().url,
    }
    return lambda engine: forgetting(engine.rpartition(".")[2], servers[engine], settings)
