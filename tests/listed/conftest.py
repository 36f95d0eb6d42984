"""A user whose sessions lie in memcached, and are listed in Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.contrib.auth.models import User

from django_multisession.engine import close_drivers
from django_multisession.store import DriverSessionStore
from tests.engine_fixtures import LISTED, Engine, use_engine
from tests.user_sessions.conftest import log_in, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

Login = Callable[..., str]


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Engine:
    return use_engine(LISTED, settings, running_servers)


def list_in(listing: str, engine: Engine, settings: Settings, running_servers: Running) -> Engine:
    """Have the engine *listing* list the sessions of *engine*, and keep their ends."""
    use_engine(listing, settings, running_servers)
    path = settings.SESSION_ENGINE
    if engine.kind == "cookie":
        settings.MULTISESSION_COOKIE = {"REVOCATION": path, "LISTED_IN": path}
    else:
        settings.MULTISESSION_MEMCACHED |= {"LISTED_IN": path}
    settings.SESSION_ENGINE = engine.path
    close_drivers()
    return engine


@pytest.fixture
def user() -> User:
    return make_user()


@pytest.fixture
def login(engine: Engine) -> Login:
    """Log a user in with a new browser, and return the session key."""

    def logged_in(user: User) -> str:
        store = engine.SessionStore()
        log_in(store, user)
        store.save()
        return str(store.session_key)

    return logged_in


def used(engine: Engine, key: str) -> DriverSessionStore:
    """Make a request with *key* that uses the session and changes nothing; return its session."""
    store = engine.SessionStore(key)
    store.get("name")
    store.respond()
    return store


def saved(engine: Engine, key: str) -> DriverSessionStore:
    """Make a request with *key* that changes the session."""
    store = engine.SessionStore(key)
    store["count"] = store.get("count", 0) + 1
    store.save()
    return store


def lose_lists(settings: Any) -> None:
    """Empty the engine that lists the sessions, as a restart without persistence does."""
    options = settings.MULTISESSION_REDIS
    with redis.Redis.from_url(options["URL"]) as server:
        for place in server.scan_iter(options["KEY_PREFIX"] + "*"):
            server.delete(place)
