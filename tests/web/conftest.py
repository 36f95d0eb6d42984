"""A site with Django's stock middleware, and a browser for it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import update_last_login
from django.contrib.auth.signals import user_logged_in

from tests.engine_fixtures import Engine
from tests.selection import DJANGOS, OURS
from tests.web import people
from tests.web.browser import Browser
from tests.web.visits import run_at_once

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["DJANGOS", "OURS"]

#: What startproject writes after it, without what has nothing to do with cookies.
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


@pytest.fixture
def engine(engine_of_each_kind: Engine) -> Engine:
    """Every engine; what a browser sees does not depend on a server's version."""
    return engine_of_each_kind


@pytest.fixture(params=[DJANGOS, OURS], ids=["djangos", "ours"])
def session_middleware(request: pytest.FixtureRequest) -> str:
    """Django's middleware and ours: whatever the engines promise holds under both."""
    path: str = request.param
    return path


@pytest.fixture(autouse=True)
def site(settings: Settings, session_middleware: str) -> Iterator[None]:
    settings.ROOT_URLCONF = "tests.web.urls"
    settings.MIDDLEWARE = [session_middleware, *MIDDLEWARE]
    settings.AUTHENTICATION_BACKENDS = [people.BACKEND]
    people.passwords.clear()
    # Its receiver writes to the database, and these people are in none.
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    yield
    user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")


@pytest.fixture(params=["sync", "async"])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A browser under WSGI, and one under ASGI whose requests share an event loop."""
    if "unreachable" in request.fixturenames:
        # What it leaves is swept up when the loop is closed.
        request.getfixturevalue("unreachable")
    if request.param == "sync":
        yield Browser(is_async=False, run=run_at_once)
        return
    with asyncio.Runner() as runner:
        yield Browser(is_async=True, run=runner.run)


@pytest.fixture
def unreachable(network_engine: Engine, settings: Settings) -> Iterator[Callable[[], None]]:
    """Take the server away: whatever speaks to it from then on fails."""

    def take_away() -> None:
        options: dict[str, Any]
        if network_engine.kind == "redis":
            options = {**settings.MULTISESSION_REDIS, "URL": "redis://127.0.0.1:1/0"}
            settings.MULTISESSION_REDIS = options
        elif network_engine.kind == "memcached":
            options = {**settings.MULTISESSION_MEMCACHED, "SERVERS": ["127.0.0.1:1"]}
            settings.MULTISESSION_MEMCACHED = options
        else:
            options = {
                **settings.MULTISESSION_MONGODB,
                "URI": "mongodb://127.0.0.1:1/",
                "OPTIONS": {"timeoutMS": 200},
            }
            settings.MULTISESSION_MONGODB = options

    yield take_away
    if network_engine.kind == "mongodb":
        with warnings.catch_warnings():
            # A connect of PyMongo's that its loop's end cancels leaves its socket unclosed (4.20).
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
