"""A site that leaves an engine, and browsers whose sessions are still there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
import redis
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.cache import caches
from django.db import connections

from django_multisession.core.records import is_tombstone
from django_multisession.drivers.database.rows import ANY_TOMBSTONE
from tests.conftest import Running
from tests.engine_fixtures import Engine, use_engine
from tests.web.browser import Browser
from tests.web.conftest import browser, session_middleware, site
from tests.web.people import BACKEND, person

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["browser", "session_middleware", "site"]

DJANGOS = "django.contrib.sessions.backends"
#: Those of Django's engines that keep something on the server.
KEPT = ("db", "cache", "cached_db")
#: Engines that a site may move to: a check refuses the others.
TARGETS = ("redis-8.2", "mongodb-standalone", "database-postgresql")


@pytest.fixture(autouse=True)
def thread_of_sync_code(closed_connections: None) -> None:
    """Close what each test leaves open there."""


@pytest.fixture(params=TARGETS)
def engine(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Engine:
    """The engines that a site moves to."""
    return use_engine(request.param, settings, running_servers)


class Old:
    """The engine that the site leaves.

    Attributes:
        path: Dotted path.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def store(self) -> Any:
        return import_module(self.path).SessionStore

    def begin(self, browser: Browser, **entries: Any) -> str:
        """Give *browser* a session of the old engine's, and return its key."""
        session = self.store()
        session.update(entries)
        session.save()
        browser.key = session.session_key
        return str(session.session_key)

    def put_back(self, key: str, **entries: Any) -> None:
        """Store a session under *key*: as if its removal had failed."""
        session = self.store()
        session.update(entries)
        session._session_key = key
        session.save(must_create=True)
        assert self.holds(key)

    def holds(self, key: str) -> bool:
        return bool(self.store(key).load())


def login(name: str) -> Mapping[str, str]:
    """Return the entries of a login, as Django writes them."""
    user = person(name)
    return {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: BACKEND,
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }


def leave(settings: Settings, name: str) -> Old:
    """Have the site leave the engine *name* of Django's."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "sessions",
        }
    }
    caches["default"].clear()
    settings.MULTISESSION_MIGRATE_FROM = f"{DJANGOS}.{name}"
    return Old(settings.MULTISESSION_MIGRATE_FROM)


@pytest.fixture(params=KEPT)
def old(request: pytest.FixtureRequest, settings: Settings, engine: Engine) -> Old:
    """Each engine of Django's that keeps something on the server."""
    return leave(settings, request.param)


@pytest.fixture
def old_db(settings: Settings, engine: Engine) -> Old:
    """Django's default engine, for what doesn't depend on it."""
    return leave(settings, "db")


@pytest.fixture
def forget_tombstones(engine: Engine, settings: Settings) -> Callable[[], None]:
    """Remove what the server would keep for a minute more, by its own clock."""
    return lambda: forgetting(engine.kind, engine.server.url, settings)


def forgetting(kind: str, url: str, settings: Settings) -> None:
    """Remove the tombstones of the engine of that *kind*."""
    if kind == "database":
        with connections[settings.MULTISESSION_DATABASE["ALIAS"]].cursor() as cursor:
            cursor.execute(
                "DELETE FROM django_multisession_session WHERE revision LIKE %s", [ANY_TOMBSTONE]
            )
        return
    if kind == "redis":
        pattern = settings.MULTISESSION_REDIS["KEY_PREFIX"] + "*"
        with redis.Redis.from_url(url) as server:
            for name in server.scan_iter(pattern, _type="string"):
                if is_tombstone(server.get(name) or b""):
                    server.delete(name)
        return
    options = settings.MULTISESSION_MONGODB
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        collection = client[options["DATABASE"]][options["COLLECTION"]]
        collection.delete_many({"is_tombstone": True})
