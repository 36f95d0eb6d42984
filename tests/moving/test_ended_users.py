"""All sessions of a user are ended: also those that haven't moved yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from django_multisession.core.merging import USER_ID_ENTRY
from django_multisession.drivers import base
from django_multisession.drivers.base import Indexed
from django_multisession.exceptions import StoreUnavailable
from django_multisession.user_sessions import aend_all_sessions, end_all_sessions, list_sessions
from tests.engine_fixtures import Engine, use_engine
from tests.moving.conftest import Old, login
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import log_in, put, read, user
from tests.web.people import person

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

pytestmark = pytest.mark.django_db(transaction=True)

#: Longer than the mark of a site that adopts nothing is kept.
LATER = timedelta(hours=1)


@pytest.fixture(params=["redis-8.2", "database-sqlite"])
def engine(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Engine:
    """Engines that list the sessions of a user."""
    return use_engine(request.param, settings, running_servers)


@pytest.fixture
def session_middleware() -> str:
    """What is ended doesn't depend on it."""
    return OURS


@pytest.mark.parametrize("is_async", [False, True])
def test_a_session_that_has_not_moved_is_ended_with_its_users_others(
    browser: Browser, old_db: Old, clock: Clock, is_async: bool
) -> None:
    key = old_db.begin(browser, cart=["tea"], **login("ada"))
    other = browser.copy()
    if is_async:
        asyncio.run(aend_all_sessions(person("ada")))
    else:
        end_all_sessions(person("ada"))
    clock.advance(LATER)
    assert browser.visit(user).answer == ""
    assert not old_db.holds(key)
    clock.advance(seconds=60)
    assert other.visit(read).answer == {}
    assert list_sessions(person("ada")) == []


def test_neither_other_users_nor_later_logins_are_ended(
    browser: Browser, old_db: Old, clock: Clock
) -> None:
    ada, bob, anonymous = browser.stranger(), browser.stranger(), browser.stranger()
    old_db.begin(bob, **login("bob"))
    old_db.begin(anonymous, cart=["tea"])
    end_all_sessions(person("ada"))
    clock.advance(LATER)
    ada.visit(log_in("ada"))
    assert [each.visit(user).answer for each in (ada, bob)] == ["ada", "bob"]
    assert anonymous.visit(read).answer == {"cart": ["tea"]}


def test_a_client_whose_session_was_ended_logs_in_again(
    browser: Browser, old_db: Old, clock: Clock
) -> None:
    old_db.begin(browser, **login("ada"))
    end_all_sessions(person("ada"))
    assert browser.visit(put(step=1)).status == 200
    browser.visit(log_in("ada"))
    assert browser.visit(user).answer == "ada"


def test_a_command_moves_no_session_of_a_user_whose_sessions_were_ended(
    browser: Browser, old_db: Old, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [old_db.begin(browser.stranger(), **login(name)) for name in ("ada", "ada", "bob")]
    end_all_sessions(person("ada"))
    clock.advance(LATER)
    call_command("migratesessions")
    said = capsys.readouterr().out
    assert "Moved 1 session in" in said
    assert "2 sessions had been ended" in said
    assert not any(map(old_db.holds, keys))
    assert list_sessions(person("ada")) == []


def test_an_adoption_that_was_cut_off_is_ended_by_the_next_request(
    browser: Browser, old_db: Old, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_db.begin(browser, **login("ada"))
    end_all_sessions(person("ada"))
    get, stored = engine.driver.get, 0

    def cut(key: str) -> base.Steps[Any]:
        nonlocal stored
        found = yield from get(key)
        if getattr(found, "idle_ms", None) is not None:
            stored += 1
            raise StoreUnavailable("cut")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(engine.driver, "get", cut)
        assert browser.visit(user).status == 503
    assert stored == 1
    assert isinstance(engine.driver, Indexed)
    assert browser.visit(user).answer == ""


# From an engine of this package


@pytest.fixture
def move(settings: Settings, running_servers: Running) -> Callable[[], None]:
    """Have the site move from Redis to SQLite."""
    engines = [
        use_engine(name, settings, running_servers) for name in ("database-sqlite", "redis-8.2")
    ]

    def deploy() -> None:
        settings.MULTISESSION_MIGRATE_FROM, settings.SESSION_ENGINE = (
            engines[1].path,
            engines[0].path,
        )

    return deploy


def test_a_login_in_an_engine_of_this_package_is_ended_if_it_is_older(
    move: Callable[[], None], browser: Browser, clock: Clock, settings: Settings
) -> None:
    browser.visit(log_in("ada"))
    move()
    clock.advance(LATER)
    end_all_sessions(person("ada"))
    clock.advance(LATER)
    # A process that still runs the old engine.
    with_old_engine = browser.stranger()
    settings.SESSION_ENGINE, settings.MULTISESSION_MIGRATE_FROM = (
        settings.MULTISESSION_MIGRATE_FROM,
        settings.SESSION_ENGINE,
    )
    with_old_engine.visit(log_in("ada"))
    move()
    assert browser.visit(user).answer == ""
    assert with_old_engine.visit(user).answer == "ada"


def test_what_the_mark_says_is_kept_until_the_migration_is_over(
    browser: Browser, old_db: Old, engine: Engine, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_MIGRATE_UNTIL = clock.now + timedelta(days=2)
    end_all_sessions(person("ada"))
    clock.advance(timedelta(days=2) - timedelta(minutes=1))
    old_db.begin(browser, **{USER_ID_ENTRY: "1"})
    assert browser.visit(read).answer == {}
    assert list_sessions(person("ada")) == []
