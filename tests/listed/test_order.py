"""Writes of one session whose cards come in another order than its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User

from django_multisession.core.records import Reason
from django_multisession.drivers.base import is_indexed
from django_multisession.drivers.base import run as carry_out
from django_multisession.drivers.listed.cards import make_card, place_of
from django_multisession.session import line
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed
from django_multisession.user_sessions import end_all_sessions, list_sessions
from tests.engine_fixtures import Engine
from tests.listed.conftest import Login, lose_lists
from tests.listed.test_lost_cards import LATER, is_logged_in
from tests.listed.test_moves import before_the_card
from tests.user_sessions.conftest import log_in, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock


def log_in_over(engine: Engine, key: str, user: User) -> None:
    """Log *user* in under the same key."""
    store = engine.SessionStore(key)
    store.clear()
    log_in(store, user)
    store.save()
    assert store.session_key == key


@pytest.fixture
def keeps_keys(settings: Settings) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False


def test_the_older_saves_card_that_comes_last_says_what_is_stored(
    clock: Clock, engine: Engine, user: User, login: Login, monkeypatch: Any
) -> None:
    key = login(user)
    first = engine.SessionStore(key)
    first.set_expiry(600)

    def save_again() -> None:
        second = engine.SessionStore(key)
        second.set_expiry(30 * 86_400)
        second.save()

    before_the_card(engine, save_again, monkeypatch)
    first.save()
    clock.advance(seconds=700)
    assert is_logged_in(engine, key)
    assert len(list_sessions(user)) == 1


@pytest.mark.usefixtures("keeps_keys")
def test_a_late_touch_doesnt_hide_a_newer_login(
    clock: Clock, engine: Engine, user: User, login: Login, monkeypatch: Any
) -> None:
    key, other = login(user), make_user()
    clock.advance(seconds=LATER)
    late = engine.SessionStore(key)
    late.get("name")
    before_the_card(engine, lambda: log_in_over(engine, key, other), monkeypatch)
    late.respond()
    assert len(list_sessions(other)) == 1
    clock.advance(seconds=1)
    assert end_all_sessions(other) == 1
    assert not is_logged_in(engine, key)


@pytest.mark.usefixtures("keeps_keys")
def test_an_end_that_meets_a_newer_login_keeps_its_card(
    engine: Engine, user: User, login: Login, monkeypatch: Any
) -> None:
    key, other = login(user), make_user()
    store = engine.SessionStore(key)
    store.get("name")
    state: Any = store._recognized.state
    place = state.snapshot.key.storage_key
    left = engine.SessionStore()._recognized.site.tombstone(Reason.ENDED)

    def end() -> None:
        assert is_indexed(engine.driver)
        carry_out(engine.driver.delete_many([place], left, user_id=str(user.pk)))

    before_the_card(engine, lambda: before_the_card(engine, end, monkeypatch), monkeypatch)
    log_in_over(engine, key, other)
    assert len(list_sessions(other)) == 1


@pytest.mark.usefixtures("keeps_keys")
def test_a_touch_that_heeds_a_mark_ends_no_newer_login(
    clock: Clock,
    settings: Settings,
    engine: Engine,
    user: User,
    login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, other = login(user), make_user()
    lose_lists(settings)
    clock.advance(seconds=1)
    end_all_sessions(user)
    clock.advance(seconds=LATER)
    late, is_revoked = engine.SessionStore(key), line.is_revoked
    logins: list[User] = []
    late.get("name")

    def then_log_in(*arguments: Any) -> bool:
        found = is_revoked(*arguments)
        if found and not logins:
            logins.append(other)
            log_in_over(engine, key, other)
        return found

    monkeypatch.setattr(line, "is_revoked", then_log_in)
    late.respond()
    assert logins == [other]
    assert engine.SessionStore(key).get(SESSION_KEY) == str(other.pk)


@pytest.mark.usefixtures("keeps_keys")
@for_each("earlier", ["another timeout", "no user"])
@for_each("position", [2, 3, 4])
def test_a_login_beside_an_earlier_save_is_listed_whenever_that_writes_its_card(
    engine: Engine, user: User, login: Login, monkeypatch: Any, position: int, earlier: str
) -> None:
    key, other, server = login(user), make_user(), engine.notes.server
    first, send = engine.SessionStore(key), server.send
    if earlier == "no user":
        first.clear()
    else:
        first.set_expiry(600)
    sent: list[Any] = []

    def beside(command: Any) -> Any:
        def of_the_login(own: Any) -> Any:
            sent.append(own)
            if len(sent) == position:
                send(command)
            return send(own)

        monkeypatch.setattr(server, "send", of_the_login)
        log_in_over(engine, key, other)
        monkeypatch.setattr(server, "send", send)
        return send(command)  # again, as after a lost answer

    monkeypatch.setattr(server, "send", beside)
    first.save()
    assert len(sent) >= position
    assert len(list_sessions(other)) == 1


def test_an_end_of_a_users_session_leaves_the_card_of_another_user(
    engine: Engine, user: User, login: Login
) -> None:
    store = engine.SessionStore(login(user))
    store.get("name")
    session: Any = store._recognized
    key, record = session.state.snapshot.key.storage_key, session.state.snapshot.record
    carry_out(engine.notes.withdraw(place_of(key), make_card(key, record)))
    card = make_card(key, changed(record, user=b"8"))
    assert carry_out(engine.notes.add(place_of(key), card))
    left = session.site.tombstone(Reason.ENDED)
    assert is_indexed(engine.driver)
    assert carry_out(engine.driver.delete_many([key], left, user_id=str(user.pk))) == [True]
    assert carry_out(engine.notes.get(place_of(key))) == card
