"""Sessions whose cards are lost: they are listed again with their next use, or end by the mark."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest

from django_multisession.core import marks
from django_multisession.core.records import to_milliseconds
from django_multisession.drivers.base import run as carry_out
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.session import of_user
from django_multisession.user_sessions import (
    end_all_sessions,
    end_other_sessions,
    end_session,
    list_sessions,
)
from tests.engine_fixtures import Engine
from tests.listed.conftest import Login, lose_lists, saved, used
from tests.user_sessions.conftest import log_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

#: Longer than between two uses that are noted.
LATER = 61


def is_logged_in(engine: Engine, key: object) -> bool:
    return isinstance(key, str) and SESSION_KEY in engine.SessionStore(key)


def request_of(engine: Engine, key: str) -> HttpRequest:
    request = HttpRequest()
    request.session = engine.SessionStore(key)
    return request


@pytest.mark.parametrize("visit", [used, saved])
def test_a_session_whose_card_is_lost_is_listed_again_with_its_next_use(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login, visit: Any
) -> None:
    key = login(user)
    (before,) = list_sessions(user)
    lose_lists(settings)
    assert list_sessions(user) == []
    clock.advance(seconds=LATER)
    visit(engine, key)
    (found,) = list_sessions(user)
    assert (found.id, found.last_used_at) == (before.id, clock.now)
    assert end_session(user, found.id)
    assert not is_logged_in(engine, key)


@pytest.mark.parametrize("visit", [used, saved])
def test_a_session_that_no_list_had_ends_with_its_next_use(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login, visit: Any
) -> None:
    key = login(user)
    lose_lists(settings)
    clock.advance(seconds=1)
    assert end_all_sessions(user) == 0
    # Much later than a login that is under way.
    clock.advance(seconds=2 * 86_400)
    if visit is saved:
        with pytest.raises(SessionEnded):
            visit(engine, key)
    else:
        assert visit(engine, key)._recognized.state.__class__.__name__ == "Ended"
    assert not is_logged_in(engine, key)
    assert list_sessions(user) == []


def test_a_login_after_the_end_of_all_stays(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    login(user)
    clock.advance(seconds=1)
    end_all_sessions(user)
    clock.advance(seconds=1)
    key = login(user)
    for visit in (used, saved, used):
        clock.advance(seconds=LATER)
        visit(engine, key)
    assert is_logged_in(engine, key)
    assert len(list_sessions(user)) == 1


def test_the_session_that_ends_the_others_stays(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    key, other = login(user), login(user)
    lose_lists(settings)
    clock.advance(seconds=1)
    request = request_of(engine, key)
    end_other_sessions(request)
    request.session.save()
    own = str(request.session.session_key)
    for _ in range(3):
        clock.advance(seconds=LATER)
        used(engine, own)
        saved(engine, own)
    assert is_logged_in(engine, own)
    used(engine, other)
    assert not is_logged_in(engine, other)
    assert len(list_sessions(user)) == 1


def test_a_session_that_was_to_end_is_spared_by_no_end_of_its_own(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    key = login(user)
    lose_lists(settings)
    clock.advance(seconds=1)
    end_all_sessions(user)
    clock.advance(seconds=1)
    # Before its next use is noted.
    request = request_of(engine, key)
    end_other_sessions(request)
    with pytest.raises(SessionEnded):
        request.session.save()
    assert not is_logged_in(engine, request.session.session_key)


def test_an_end_of_all_in_the_moment_of_another_end_spares_no_session(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    key = login(user)
    clock.advance(seconds=1)
    request = request_of(engine, key)
    end_other_sessions(request)
    request.session.save()
    lose_list_of_cards(engine, settings, user)
    # By a clock that is behind by a moment.
    clock.advance(seconds=-0.5)
    end_all_sessions(user)
    clock.advance(seconds=LATER)
    used(engine, str(request.session.session_key))
    assert not is_logged_in(engine, request.session.session_key)


def test_an_end_of_all_by_a_clock_that_is_behind_leaves_the_later_moment_of_another_end(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    key = login(user)
    clock.advance(seconds=0.7)
    other = login(user)
    lose_lists(settings)
    clock.advance(seconds=0.3)
    request = request_of(engine, key)
    end_other_sessions(request)
    request.session.save()
    # Before the login whose card is lost.
    clock.advance(seconds=-0.5)
    end_all_sessions(user)
    clock.advance(seconds=LATER)
    used(engine, other)
    assert not is_logged_in(engine, other)


def lose_list_of_cards(engine: Engine, settings: Settings, user: User) -> None:
    """Lose all but the mark of *user*."""
    place = marks.place_of(str(user.pk).encode(), b"")
    mark: Any = carry_out(engine.notes.get(place))
    lose_lists(settings)
    assert carry_out(engine.notes.add(place, mark))


def test_a_mark_lives_as_long_as_a_session_may(
    clock: Clock, settings: Settings, engine: Engine, user: User
) -> None:
    def end_of_mark(**timeouts: Any) -> int:
        clock.advance(seconds=1)
        for name, value in timeouts.items():
            setattr(settings, f"MULTISESSION_{name}", value)
        carry_out(of_user.mark(engine.SessionStore()._recognized, str(user.pk)))  # type: ignore[arg-type]  # its steps are a driver's
        mark: Any = carry_out(engine.notes.get(marks.place_of(str(user.pk).encode(), b"")))
        left: int = mark.ends_ms - to_milliseconds(clock.now)
        return left

    assert end_of_mark(ABSOLUTE_TIMEOUT=86_400) == 86_400_000
    assert end_of_mark(REMEMBERED_ABSOLUTE_TIMEOUT=172_800) == 172_800_000
    endless = end_of_mark(
        REMEMBERED_ABSOLUTE_TIMEOUT=None, ABSOLUTE_TIMEOUT=None, IDLE_TIMEOUT=None
    )
    assert endless > 10**14


@pytest.mark.parametrize("is_stored", [False, True], ids=["unsent", "unanswered"])
def test_a_login_whose_card_has_no_answer_is_listed_once_it_is_tried_again(
    engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    store = engine.SessionStore()
    log_in(store, user)
    with monkeypatch.context() as patched:
        patched.setattr(engine.notes.server, "send", failing(engine.notes.server.send, is_stored))
        with pytest.raises(StoreUnavailable):
            store.save()
    store.save()
    assert len(list_sessions(user)) == 1


def test_a_login_that_all_were_ended_beside_ends_when_it_is_tried_again(
    clock: Clock, engine: Engine, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine.SessionStore()
    log_in(store, user)
    with monkeypatch.context() as patched:
        patched.setattr(engine.notes.server, "send", failing(engine.notes.server.send, True))
        with pytest.raises(StoreUnavailable):
            store.save()
    clock.advance(seconds=1)
    assert end_all_sessions(user) == 1
    with pytest.raises(SessionEnded):
        store.save()
    assert list_sessions(user) == []


def failing(send: Callable[[Any], Any], is_stored: bool) -> Callable[[Any], Any]:
    def fail(command: Any) -> Any:
        if is_stored:
            send(command)
        raise StoreUnavailable("no answer")

    return fail


def test_a_session_that_no_list_had_ends_with_its_next_key(
    clock: Clock, settings: Settings, engine: Engine, user: User, login: Login
) -> None:
    store = engine.SessionStore(login(user))
    lose_lists(settings)
    clock.advance(seconds=1)
    end_all_sessions(user)
    clock.advance(seconds=LATER)
    store.cycle_key()
    with pytest.raises(SessionEnded):
        store.save()
    assert not is_logged_in(engine, store.session_key)


def test_a_mark_lasts_as_long_as_the_sessions_of_a_site_s_own_store(
    clock: Clock, engine: Engine
) -> None:
    class SessionStore(engine.SessionStore):  # type: ignore[name-defined,misc]  # a class at run time
        def get_session_cookie_age(self) -> int:
            return 90 * 86_400

    store = SessionStore()
    until = of_user._marked_until(store._recognized.site)
    assert until == to_milliseconds(clock.now) + 90 * 86_400_000


@pytest.mark.parametrize("ahead", [600, 86_400])
def test_an_end_of_all_by_a_clock_ahead_ends_no_later_login(
    clock: Clock, engine: Engine, user: User, login: Login, ahead: int
) -> None:
    clock.advance(seconds=ahead)
    end_all_sessions(user)
    clock.advance(seconds=30 - ahead)
    key = login(user)
    for _ in range(ahead // 3600 + 20):
        clock.advance(seconds=max(LATER, ahead // 20))
        used(engine, key)
    assert is_logged_in(engine, key)
