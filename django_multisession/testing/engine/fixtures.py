"""What the laws of an engine stand on: a driven clock, and sessions opened by key, sync and async."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.dispatch import Signal
from django.utils import timezone

from django_multisession.core import cookie_keys, keys
from django_multisession.core.records import Record
from django_multisession.drivers import log_lines
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore
from django_multisession.testing.verbs import Clock, DriverVerbs, Run, SessionVerbs, open_runner

Open = Callable[..., SessionVerbs]
USER_ID = "_auth_user_id"


class EngineFixtures:
    """What the laws of an engine stand on. Subclasses provide the fixture `session_store`."""

    @pytest.fixture(autouse=True)
    def fresh_log_lines(self) -> None:
        """Let a law see its lines, however many others had this process write."""
        log_lines.counter.clear()

    @pytest.fixture
    def session_store(self) -> type[DriverSessionStore]:
        """Return the ``SessionStore`` under test."""
        raise NotImplementedError("subclasses of EngineContract must provide session_store")

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Drive ``timezone.now()``."""
        clock = Clock()
        monkeypatch.setattr(timezone, "now", lambda: clock.now)
        return clock

    @pytest.fixture(params=["sync", "async"])
    def run(self, request: pytest.FixtureRequest) -> Iterator[Run | None]:
        """Return what runs a law's coroutines: None for the sync verbs."""
        run, close = open_runner(request.param)
        yield run
        close()

    @pytest.fixture
    def open_session(
        self, session_store: type[DriverSessionStore], clock: Clock, run: Run | None
    ) -> Open:
        """Return what opens a session by its key, as a request does by its cookie."""
        return lambda key=None: SessionVerbs(session_store(key), run)

    @pytest.fixture
    def driver(self, session_store: type[DriverSessionStore]) -> DriverVerbs:
        """Return the sync verbs of the driver under the engine."""
        return DriverVerbs(session_store.get_driver(), None)


@contextlib.contextmanager
def heard(*signals: Signal) -> Iterator[list[dict[str, Any]]]:
    """Collect the arguments with which *signals* are sent meanwhile."""
    events: list[dict[str, Any]] = []

    def receive(signal: Signal, sender: type, **arguments: Any) -> None:
        events.append(arguments)

    for signal in signals:
        signal.connect(receive)
    try:
        yield events
    finally:
        for signal in signals:
            signal.disconnect(receive)


def stored(driver: DriverVerbs, session: SessionVerbs) -> Record:
    """Return the record of *session*."""
    record = driver.get(storage_key(session.key))
    assert isinstance(record, Record)
    return record


def storage_key(session_key: str | None) -> str:
    """Return the storage key that *session_key* leads to."""
    config, namespace = conf.config(), conf.config().namespace.encode()
    verified = keys.verify(session_key or "", config.signing_keys, namespace)
    if verified is not None:
        return verified.storage_key
    # Of an engine whose keys hold their sessions.
    context = cookie_keys.context(conf.cookie()[0], namespace)
    held = cookie_keys.decode(session_key, config.cookie_keys, context)
    assert held is not None
    return held.storage_key


def saved(open_session: Open, **entries: Any) -> SessionVerbs:
    """Return a session that a first request stored with *entries*."""
    session = open_session()
    session.update(entries)
    session.save()
    return session
