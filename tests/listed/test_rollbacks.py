"""What a rolled back transaction undoes where a database lists sessions, or keeps their ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest

from django_multisession.database.models import Session
from django_multisession.user_sessions import end_all_sessions, list_sessions
from tests.cookie.visits import Browser
from tests.engine_fixtures import LISTED_COOKIE, SQLITE, Engine
from tests.listed.conftest import Login, list_in, used
from tests.listed.test_cookies import is_in, logged_in
from tests.listed.test_lost_cards import LATER, is_logged_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running


@pytest.fixture
def engine(engine: Engine, settings: Settings, running_servers: Running) -> Engine:
    return list_in(SQLITE, engine, settings, running_servers)


@contextlib.contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic(using=SQLITE):
        yield
        transaction.set_rollback(True, using=SQLITE)


def test_the_mark_of_an_end_of_all_holds(
    clock: Clock, engine: Engine, user: User, login: Login
) -> None:
    key = login(user)
    Session.objects.using(SQLITE).all().delete()
    clock.advance(seconds=1)
    for _ in range(2):
        # The second one goes over the mark of the first.
        clock.advance(seconds=1)
        with rolled_back():
            assert end_all_sessions(user) == 0
    clock.advance(seconds=LATER)
    used(engine, key)
    assert not is_logged_in(engine, key)


def test_a_session_whose_card_was_undone_is_listed_again_with_its_next_use(
    clock: Clock, engine: Engine, user: User, login: Login
) -> None:
    with rolled_back():
        key = login(user)
    assert list_sessions(user) == []
    clock.advance(seconds=LATER)
    used(engine, key)
    assert len(list_sessions(user)) == 1


@pytest.mark.parametrize("is_logout", [False, True])
def test_the_end_of_a_session_in_a_cookie_holds(
    user: User, settings: Settings, running_servers: Running, *, is_logout: bool
) -> None:
    list_in(SQLITE, Engine(LISTED_COOKIE), settings, running_servers)
    browser = logged_in(user)
    copied = Browser(browser.cookie)

    def page(request: HttpRequest) -> None:
        with rolled_back():
            if is_logout:
                request.session.flush()
            else:
                end_all_sessions(user)

    browser.visit(page)
    assert not is_in(copied)
