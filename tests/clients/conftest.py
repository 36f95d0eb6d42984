"""A site for real packages, under Django's middleware and ours, and browsers for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.clients.sockets import SocketSite
from tests.engine_fixtures import Engine
from tests.started_project import TEMPLATES
from tests.web.browser import Browser, Reply
from tests.web.conftest import engine, session_middleware, site, unreachable
from tests.web.visits import run_at_once

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["engine", "session_middleware", "site", "unreachable"]


@pytest.fixture
def browser(site: None, settings: Settings) -> Browser:
    """A browser under WSGI: the packages' own pages are sync."""
    settings.ROOT_URLCONF = "tests.clients.urls"
    return Browser(is_async=False, run=run_at_once)


@pytest.fixture
def users_in_database(db: None, browser: Browser, settings: Settings) -> None:
    """Users as every site has them, templates, and messages in sessions."""
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    settings.STATIC_URL = "/static/"
    settings.TEMPLATES = TEMPLATES


def send_form(browser: Browser, path: str, **fields: str) -> Reply:
    """Open the page at *path*, fill in its form and send it."""
    page = browser.get(path)
    assert page.status == 200
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body.decode())
    assert token is not None
    return browser.post(path, {"csrfmiddlewaretoken": token[1], **fields})


@pytest.fixture
def sockets(site: None) -> Iterator[SocketSite]:
    """A site behind Channels, whose sockets stay open between a test's lines."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        yield SocketSite(runner, stack)


def rotate(settings: Settings) -> None:
    """Replace SECRET_KEY; the old one goes on verifying."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50


Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def outage(network_engine: Engine, settings: Settings, unreachable: Callable[[], None]) -> Outage:
    """Take the server away, for as long as a block lasts."""
    name = f"MULTISESSION_{network_engine.kind.upper()}"

    @contextmanager
    def away() -> Iterator[None]:
        there = getattr(settings, name)
        unreachable()
        yield
        setattr(settings, name, there)

    return away
