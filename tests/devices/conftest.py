"""A site that records what logins come with, and visitors who log in with Django's own function."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import auth
from django.contrib.auth.models import User, update_last_login
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest

from django_multisession import signals
from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.store import DriverSessionStore
from tests.engine_fixtures import Engine
from tests.unit.test_devices import FIREFOX
from tests.user_sessions.conftest import Functions, engine, functions, run, user

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["engine", "functions", "run", "user"]

Told = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def thread_of_sync_code(closed_connections: None) -> None:
    """Close what each test leaves open there."""


@pytest.fixture(autouse=True)
def users_in_no_database() -> Iterator[None]:
    uid = "update_last_login"
    was_connected = user_logged_in.disconnect(dispatch_uid=uid)
    yield
    if was_connected:
        user_logged_in.connect(update_last_login, dispatch_uid=uid)


@pytest.fixture(autouse=True)
def recording(settings: Settings) -> None:
    settings.MULTISESSION_RECORD_USER_AGENT = True
    settings.MULTISESSION_RECORD_ADDRESS = "truncated"


@dataclasses.dataclass(frozen=True)
class Visitor:
    """Logs users in with Django's own function."""

    engine: Engine
    functions: Functions

    def log_in(
        self, user: User, agent: str | None = FIREFOX, *, over: str | None = None, **meta: str
    ) -> DriverSessionStore:
        store = self.enter(user, agent, over=over, **meta)
        self.functions.call(store, "save")
        return store

    def enter(
        self, user: User, agent: str | None = FIREFOX, *, over: str | None = None, **meta: str
    ) -> DriverSessionStore:
        """Log in without a save."""
        request = HttpRequest()
        request.META = {"REMOTE_ADDR": "192.0.2.77", **meta}
        if agent is not None:
            request.META["HTTP_USER_AGENT"] = agent
        store = self.engine.SessionStore(over)
        request.session = store
        self.functions.call(auth, "login", request, user)
        return store

    def recorded(self, store: DriverSessionStore) -> tuple[Any, Any]:
        """Return what is stored, read by another request."""
        stored = self.engine.SessionStore(store.session_key)
        agent, address = (
            self.functions.call(stored, "get", name) for name in (USER_AGENT_ENTRY, ADDRESS_ENTRY)
        )
        return agent, address


@pytest.fixture
def visitor(engine: Engine, functions: Functions) -> Visitor:
    return Visitor(engine, functions)


@contextlib.contextmanager
def told(engine: Engine) -> Iterator[Told]:
    """Return what the signal is sent with meanwhile."""
    sent: Told = []

    def receive(sender: Any, signal: Any, **arguments: Any) -> None:
        sent.append(arguments)

    signals.new_device.connect(receive, sender=engine.SessionStore)
    try:
        yield sent
    finally:
        signals.new_device.disconnect(receive, sender=engine.SessionStore)
