"""Cards that a writer in the listing engine forges, or that an engine left there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from django_multisession.core.records import Reason, Record, Tombstone
from django_multisession.drivers.base import Driver
from django_multisession.drivers.base import run as carry_out
from django_multisession.drivers.listed import cards
from django_multisession.testing.driver.fixtures import make_key
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions import end_all_sessions, list_sessions
from tests.engine_fixtures import Engine
from tests.listed.conftest import Login
from tests.listed.test_lost_cards import is_logged_in
from tests.user_sessions.conftest import log_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

ENGINES = "django_multisession.engines"


def record_of(engine: Engine, key: str) -> Record:
    store = engine.SessionStore(key)
    store.get("name")
    state: Any = store._recognized.state
    found: Record = state.snapshot.record
    return found


@for_each("named", ["a b", "x" * 251, "k\r\nflush_all", "\ufffd", ""])
def test_a_card_that_names_no_storage_key_stops_no_list(
    clock: Clock, engine: Engine, user: User, login: Login, named: str
) -> None:
    key = login(user)
    card = cards.make_card(named, record_of(engine, key))
    carry_out(engine.notes.add(cards.place_of(named), card))
    assert len(list_sessions(user)) == 1
    clock.advance(seconds=1)
    assert end_all_sessions(user) == 1
    assert not is_logged_in(engine, key)


def test_a_tombstone_that_leads_to_no_storage_key_stops_no_list(
    engine: Engine, user: User, login: Login
) -> None:
    record, place = record_of(engine, login(user)), make_key()
    driver: Any = engine.driver
    main: Driver = driver.main
    carry_out(main.add(place, record))
    left = Tombstone(b"12345678", Reason.MOVED, "a b")
    carry_out(main.delete(place, left))
    carry_out(engine.notes.add(cards.place_of(place), cards.make_card(place, record)))
    assert len(list_sessions(user)) == 1


def test_cards_that_an_engine_left_are_no_sessions(
    engine: Engine,
    user: User,
    login: Login,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    login(user)
    settings.SESSION_ENGINE = f"{ENGINES}.redis"
    store = Engine("redis-8.2").SessionStore()
    log_in(store, user)
    store.save()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert len(list_sessions(user)) == 1
        call_command("endsessions", "--all", "--dry-run")
        assert end_all_sessions(user) == 1
    assert caplog.messages == []
    assert "didn't sign" not in "".join(capsys.readouterr())


def test_cards_arent_moved(
    clock: Clock,
    engine: Engine,
    user: User,
    login: Login,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    login(user)
    settings.SESSION_ENGINE = f"{ENGINES}.memory"
    settings.MULTISESSION_MIGRATE_FROM = f"{ENGINES}.redis"
    settings.MULTISESSION_MIGRATE_UNTIL = clock.now.replace(year=clock.now.year + 1)
    call_command("migratesessions")
    assert "could not be moved" not in "".join(capsys.readouterr())


def test_an_engine_whose_users_sessions_are_listed_cant_list_the_others(
    clock: Clock, engine: Engine, user: User, login: Login, settings: Settings
) -> None:
    login(user)
    settings.SESSION_ENGINE = f"{ENGINES}.memory"
    settings.MULTISESSION_MIGRATE_FROM = engine.path
    settings.MULTISESSION_MIGRATE_UNTIL = clock.now.replace(year=clock.now.year + 1)
    with pytest.raises(CommandError, match="list"):
        call_command("migratesessions")
