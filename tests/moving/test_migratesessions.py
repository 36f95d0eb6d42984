"""`manage.py migratesessions` moves what no client has come with yet."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone

from django_multisession.core.records import Record
from django_multisession.drivers import base
from django_multisession.exceptions import StoreUnavailable
from django_multisession.management.commands import migratesessions
from tests.engine_fixtures import Engine
from tests.moving.conftest import Old, leave, login
from tests.unit.frames import caught, shown
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import log_out, read, user
from tests.web.visits import run_at_once

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session_middleware() -> str:
    """The command has none; its clients are those of the other tests."""
    return OURS


@pytest.fixture
def browser(site: None) -> Browser:
    return Browser(is_async=False, run=run_at_once)


def migrate(*options: str) -> str:
    stdout = io.StringIO()
    call_command(migratesessions.Command(), *options, stdout=stdout)
    return stdout.getvalue()


def test_each_live_session_is_moved_and_found_by_its_client(browser: Browser, old_db: Old) -> None:
    browsers = [browser.stranger() for _ in range(5)]
    keys = [
        old_db.begin(each, number=number, **login("ada")) for number, each in enumerate(browsers)
    ]
    assert migrate("--dry-run").startswith("Dry run: 5 live sessions")
    said = migrate("--batch-size", "2")
    assert "Moved 5 sessions" in said
    assert "Nothing is left." in said
    assert not any(map(old_db.holds, keys))
    for number, each in enumerate(browsers):
        assert each.visit(user).answer == "ada"
        assert each.visit(read).answer == {"number": number}
    assert "Moved 0 sessions" in migrate()


def test_a_session_ends_when_it_would_have_ended_in_the_old_engine(
    browser: Browser, old_db: Old, clock: Clock, settings: Settings
) -> None:
    old_db.begin(browser, cart=["tea"])
    clock.advance(timedelta(seconds=settings.SESSION_COOKIE_AGE) - timedelta(hours=1))
    migrate()
    late = browser.copy()
    clock.advance(timedelta(minutes=59))
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert late.visit(read).answer == {"cart": ["tea"]}


def test_a_session_that_no_one_uses_ends_when_it_would_have_ended_there(
    browser: Browser, old_db: Old, clock: Clock, settings: Settings
) -> None:
    old_db.begin(browser, cart=["tea"])
    clock.advance(timedelta(seconds=settings.SESSION_COOKIE_AGE) - timedelta(hours=1))
    migrate()
    clock.advance(timedelta(hours=1))
    assert browser.visit(read).answer == {}


def test_an_expired_session_stays_where_it_is(browser: Browser, old_db: Old, clock: Clock) -> None:
    old_db.begin(browser, cart=["tea"])
    clock.advance(timedelta(days=15))
    assert "Moved 0 sessions" in migrate()
    assert Session.objects.count() == 1


def test_what_was_ended_is_not_moved_again(
    browser: Browser, old_db: Old, forget_tombstones: Any
) -> None:
    key = old_db.begin(browser, **login("ada"))
    thief = browser.copy()
    migrate()
    browser.visit(user)
    browser.visit(log_out)
    forget_tombstones()
    old_db.put_back(key, **login("ada"))
    assert "Nothing is left." in migrate()
    assert thief.visit(user).answer == ""


def test_what_holds_nothing_or_is_unreadable_is_left_and_counted(
    browser: Browser, old_db: Old
) -> None:
    Session.objects.create(
        session_key="x" * 32,
        session_data="not a session",
        expire_date=timezone.now() + timedelta(days=1),
    )
    said = migrate()
    assert "1 session had been ended, or held nothing that can be read." in said
    assert "1 session left in the old engine." in said


def test_a_run_that_an_outage_stops_loses_nothing_and_is_resumed(
    browser: Browser, old_db: Old, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers = [browser.stranger() for _ in range(3)]
    for each in browsers:
        old_db.begin(each, **login("ada"))
    server, sent = engine.driver.server, 0
    send = server.send

    def cut(command: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > 7:
            raise StoreUnavailable("cut")
        return send(command)

    with monkeypatch.context() as patch:
        patch.setattr(server, "send", cut, raising=False)
        with pytest.raises(CommandError, match=r"Moved 1 session .*Run the command again"):
            migrate()
    assert "Nothing is left." in migrate()
    assert [each.visit(user).answer for each in browsers] == ["ada"] * 3


def test_a_copy_stays_until_what_was_stored_is_read_back(
    browser: Browser, old_db: Old, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = old_db.begin(browser, cart=["tea"])
    driver = type(engine.driver)

    def lose(_driver: Any, _key: str, _record: Record) -> base.Steps[bool]:
        """Answer as a server that has no room and doesn't say so."""
        yield from ()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(driver, "add", lose)
        with pytest.raises(CommandError, match="could not be moved"):
            migrate()
    assert old_db.holds(key)


def test_a_record_that_a_run_lost_is_moved_by_the_next_run(
    browser: Browser, old_db: Old, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_db.begin(browser, cart=["tea"])
    driver, add, lost = type(engine.driver), type(engine.driver).add, 0

    def lose_the_first(driver: Any, key: str, record: Record) -> base.Steps[bool]:
        nonlocal lost
        lost += 1
        return (yield from add(driver, key, record)) if lost > 1 else True

    with monkeypatch.context() as patch:
        patch.setattr(driver, "add", lose_the_first)
        with pytest.raises(CommandError, match="could not be moved"):
            migrate()
    assert "Moved 1 session in" in migrate()
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_while_the_old_engine_is_down_nothing_is_moved_and_the_command_fails(
    browser: Browser, old_db: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_db.begin(browser, cart=["tea"])

    def fail(_store: Any) -> None:
        raise OSError

    monkeypatch.setattr(db.SessionStore, "_get_session_from_db", fail)
    with pytest.raises(CommandError, match="1 session could not be moved"):
        migrate()


@pytest.mark.parametrize(
    ("answers", "said"),
    [(0, "Nothing was moved"), (1, "Moved 0 sessions"), (2, "Moved 2 sessions")],
)
def test_an_outage_of_the_old_table_is_reported_and_the_run_is_resumed(
    browser: Browser, old_db: Old, answers: int, said: str
) -> None:
    browsers = [browser.stranger() for _ in range(3)]
    keys = [old_db.begin(each, **login("ada")) for each in browsers]
    asked = 0

    def fail(execute: Any, sql: str, *arguments: Any) -> Any:
        nonlocal asked
        asked += "expire_date" in sql and ("COUNT" in sql or "ORDER BY" in sql)
        if asked > answers:
            raise OperationalError("no server at db.internal, password hunter2")
        return execute(sql, *arguments)

    with connection.execute_wrapper(fail):
        error = caught(lambda: migrate("--batch-size", "2"), CommandError)
    assert str(error).startswith(
        "The database 'default' can't read sessions.Session: OperationalError. " + said
    )
    assert "Run the command again" in str(error) or not answers
    for secret in ("hunter2", *keys):
        assert secret not in shown(error)
    assert "Nothing is left." in migrate()
    assert [each.visit(user).answer for each in browsers] == ["ada"] * 3


def test_a_run_stops_where_the_old_table_fails_again_and_again(
    browser: Browser, old_db: Old
) -> None:
    for _ in range(15):
        old_db.begin(browser.stranger(), **login("ada"))
    loads = 0

    def fail(execute: Any, sql: str, *arguments: Any) -> Any:
        nonlocal loads
        loads += '"session_data"' in sql
        if loads:
            raise OperationalError
        return execute(sql, *arguments)

    with (
        connection.execute_wrapper(fail),
        pytest.raises(
            CommandError, match=r"10 sessions could not be moved\. Run the command again"
        ),
    ):
        migrate()
    assert loads == 10


@pytest.mark.parametrize("name", ["cache", "signed_cookies"])
def test_an_engine_that_lists_nothing_is_refused(
    settings: Settings, engine: Engine, name: str
) -> None:
    leave(settings, name)
    with pytest.raises(CommandError, match="can't list its sessions"):
        migrate()


def test_without_the_setting_there_is_nothing_to_move(engine: Engine) -> None:
    with pytest.raises(CommandError, match="isn't set"):
        migrate()
