"""Each engine that can list sessions, as the one that lists those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from django_multisession.user_sessions import end_all_sessions, list_sessions
from tests.engine_fixtures import LISTED, LISTED_COOKIE, Engine, use_engine
from tests.listed.conftest import Login, list_in, used
from tests.listed.test_lost_cards import LATER, is_logged_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

pytestmark = pytest.mark.every_engine


@pytest.fixture(params=["mongodb-standalone", "database-postgresql", "database-mariadb"])
def listing(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=[LISTED, LISTED_COOKIE])
def engine(
    request: pytest.FixtureRequest, listing: str, settings: Settings, running_servers: Running
) -> Engine:
    engine = use_engine(request.param, settings, running_servers)
    return list_in(listing, engine, settings, running_servers)


def test_sessions_are_limited_listed_and_ended(
    clock: Clock, engine: Engine, settings: Settings, user: User, login: Login
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 2
    keys = []
    for _ in range(3):
        clock.advance(seconds=1)
        keys.append(login(user))
    assert [is_logged_in(engine, key) for key in keys] == [False, True, True]
    moved = engine.SessionStore(keys[1])
    moved.cycle_key()
    moved.save()
    clock.advance(seconds=LATER)
    assert is_logged_in(engine, used(engine, keys[2]).session_key)
    assert [each.last_used_at == clock.now for each in list_sessions(user)] == [True, False]
    assert end_all_sessions(user) == 2
    assert not any(is_logged_in(engine, key) for key in (*keys, moved.session_key))
    assert list_sessions(user) == []
