"""Corners of the store that do not depend on an engine's server."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from django.test import override_settings
from django.utils import timezone
from django.views.debug import ExceptionReporter

from django_multisession.core import signing
from django_multisession.core.records import Answer, Record
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import (
    DEFAULT_MAX_RECORDS,
    Command,
    MemoryDriver,
    MemoryServer,
)
from django_multisession.engines.memory import SessionStore
from django_multisession.exceptions import (
    EntryNotSerializable,
    OutageKind,
    SessionConflict,
    StoreUnavailable,
)
from django_multisession.session.respond import CookieAnswer
from django_multisession.session.save import SAVE_PATIENCE
from django_multisession.session.site import Site
from django_multisession.session.state import OUTAGE_PATIENCE_MS
from django_multisession.session.steps import LONGEST_PAUSE
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import facts_of
from tests.engine_fixtures import Engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

Kind = TypeVar("Kind", bound=MemoryServer)

#: Made here, because an error page shows the lines of this file.
PRECIOUS = "-".join(["4111"] * 4)

CLOSED = {
    "redis": {"URL": "redis://127.0.0.1:1", "OPTIONS": {"max_connections": 2}},
    "mongodb": {"URI": "mongodb://127.0.0.1:1", "OPTIONS": {"serverSelectionTimeoutMS": 200}},
    "memcached": {"SERVERS": ["127.0.0.1:1"]},
}


def fail(engine: Engine, settings: Settings) -> None:
    setattr(settings, f"MULTISESSION_{engine.kind.upper()}", CLOSED[engine.kind])


def saved(engine: Engine) -> str:
    session = engine.SessionStore()
    session["card"] = PRECIOUS
    session.save()
    assert session.session_key is not None
    return session.session_key


def error_page() -> str:
    return ExceptionReporter(None, *sys.exc_info()).get_traceback_html()


def test_an_error_page_of_an_outage_shows_neither_entries_nor_key(
    network_engine: Engine, settings: Settings
) -> None:
    session = network_engine.SessionStore(saved(network_engine))
    session["more"] = 1
    fail(network_engine, settings)
    try:
        session.save()
    except StoreUnavailable:
        page = error_page()
    assert "StoreUnavailable" in page
    assert PRECIOUS not in page
    assert str(session.session_key) not in page


def test_an_error_page_of_an_unserializable_entry_shows_no_other_entry(
    network_engine: Engine,
) -> None:
    session = network_engine.SessionStore(saved(network_engine))
    session["culprit"] = object()
    try:
        session.save()
    except EntryNotSerializable:
        page = error_page()
    assert "culprit" in page
    assert PRECIOUS not in page


@pytest.mark.parametrize("verb", ["create", "must_create"])
def test_a_session_that_could_not_be_read_is_not_replaced_by_a_new_one(
    network_engine: Engine, settings: Settings, verb: str
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    key = saved(network_engine)
    name = f"MULTISESSION_{network_engine.kind.upper()}"
    works = getattr(settings, name)
    fail(network_engine, settings)
    session = network_engine.SessionStore(key)
    assert session.get("card") is None
    setattr(settings, name, works)
    with pytest.raises(StoreUnavailable):
        session.create() if verb == "create" else session.save(must_create=True)
    assert network_engine.SessionStore(key)["card"] == PRECIOUS


def test_a_subclass_may_say_how_long_its_cookies_live(clock: Clock) -> None:
    class Remembering(SessionStore):
        def get_session_cookie_age(self) -> int:
            return 365 * 86400

    session = Remembering()
    session["a"] = 1
    session.save()
    assert session.get_expiry_age() == 365 * 86400
    clock.advance(seconds=300 * 86400)
    assert Remembering(session.session_key)["a"] == 1


@for_each(("given", "age"), [(0.5, 1), (10.2, 11), (-0.5, -1)])
def test_a_part_of_a_second_is_not_until_the_browser_closes(given: float, age: int) -> None:
    session = SessionStore()
    session.set_expiry(given)
    assert session.get_expiry_age() == age


def test_the_time_zone_of_a_visitor_does_not_move_the_clock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "America/Chicago"
    local = datetime(2026, 1, 1, 12)  # noqa: DTZ001  (what timezone.now() is without USE_TZ)
    monkeypatch.setattr(timezone, "now", lambda: local)
    with override_settings(MULTISESSION_IDLE_TIMEOUT=1800):
        session = SessionStore()
        session["a"] = 1
        session.save()
        with timezone.override("Pacific/Honolulu"):
            assert SessionStore(session.session_key).get("a") == 1
        assert session.get_expiry_date() == datetime(2026, 1, 1, 12, 30)  # noqa: DTZ001  (as above)
        idle_deadline_at = session.deadlines().idle_deadline_at
        assert idle_deadline_at == datetime(2026, 1, 1, 18, 30, tzinfo=UTC)


def test_an_empty_fallback_signs_nothing(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [""]
    assert len(conf.config().signing_keys) == len(conf.config().record_keys) == 1


class Busy(MemoryServer):
    """Another request saves the session just before each save."""

    def replace(self, key: str, record: Record, base: Record, now: int) -> Answer:
        stored = self.get(key)
        assert isinstance(stored, Record)
        theirs = signing.sign(
            facts_of(stored),
            stored.payload,
            key,
            signing.binding(conf.config().namespace),
            conf.config().record_keys,
            stored,
        )
        super().replace(key, theirs, stored, now)
        return super().replace(key, record, base, now)


class Full(MemoryServer):
    """Says of every key that it is taken."""

    def add(self, key: str, record: Record) -> bool:
        return False


class Down(MemoryServer):
    """Answers no read and no end while it is down."""

    is_down = False
    asked = 0

    def send(self, command: Command, /) -> Any:
        if command.verb in ("get", "delete"):
            self.asked += 1
            if self.is_down:
                raise StoreUnavailable
        return super().send(command)


class Newer(MemoryServer):
    """Holds what a newer release wrote."""

    def add(self, key: str, record: Record) -> bool:
        is_added = super().add(key, record)
        slot = self.slots[key]
        self.slots[key] = slot._replace(raw=slot.raw[:1] + b"\x02" + slot.raw[2:])
        return is_added


def a(kind: type[Kind]) -> Kind:
    """Return an empty server of *kind*."""
    return kind(DEFAULT_MAX_RECORDS, time.monotonic)


def store_over(server: MemoryServer) -> type[DriverSessionStore]:
    driver = MemoryDriver()
    driver.server = server

    class Store(DriverSessionStore):
        @classmethod
        def get_driver(cls) -> Driver:
            return driver

    return Store


def test_a_save_that_always_meets_another_one_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    this_thread, sleep = threading.get_ident(), time.sleep

    def pause(seconds: float) -> None:
        # PyMongo's threads sleep too.
        (paused.append if threading.get_ident() == this_thread else sleep)(seconds)

    # Time passes in pauses alone.
    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(Site, "monotonic", lambda _site: sum(paused))
    store = store_over(a(Busy))
    session = store()
    session["a"] = 1
    session.save()
    session["a"] = 2
    with pytest.raises(SessionConflict, match="again and again"):
        session.save()
    assert SAVE_PATIENCE < sum(paused) <= SAVE_PATIENCE + LONGEST_PAUSE
    assert max(paused) <= LONGEST_PAUSE
    # Some 20 s of pauses that last an eighth of a second on average.
    assert len(paused) < 400
    assert store(session.session_key)["a"] == 1


@pytest.mark.parametrize("first", ["read", "flush"])
def test_a_request_waits_once_for_a_server_that_is_down(clock: Clock, first: str) -> None:
    server = a(Down)
    store = store_over(server)
    key = stored_in(store, a=1)
    session = store(key)
    server.is_down, server.asked = True, 0
    with pytest.raises(StoreUnavailable):
        session.flush() if first == "flush" else session.get("a")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            session.load()
    if first == "flush":
        with pytest.raises(StoreUnavailable):
            session.respond()
    else:
        assert session.respond() is CookieAnswer.KEEP
    assert server.asked == 1


def test_a_session_that_outlives_an_outage_is_read_again(clock: Clock) -> None:
    server = a(Down)
    store = store_over(server)
    session = store(stored_in(store, a=1))
    server.is_down = True
    with pytest.raises(StoreUnavailable):
        session.get("a")
    server.is_down = False
    clock.advance(seconds=OUTAGE_PATIENCE_MS / 1000)
    assert session["a"] == 1


def test_a_logout_does_not_wait_for_a_server_that_a_read_waited_for(
    clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    server = a(Down)
    session = store_over(server)(stored_in(store_over(server), a=1))
    server.is_down, server.asked = True, 0
    assert session.get("a") is None
    for _ in range(2):
        clock.advance(seconds=OUTAGE_PATIENCE_MS / 1000 / 2 - 1)
        with pytest.raises(StoreUnavailable):
            session.flush()
    assert server.asked == 1
    server.is_down = False
    clock.advance(seconds=2)
    session.flush()
    assert server.asked == 2


def stored_in(store: type[DriverSessionStore], **entries: object) -> str | None:
    session = store()
    session.update(entries)
    session.save()
    return session.session_key


def test_a_server_that_takes_no_new_key_is_given_up_on() -> None:
    session = store_over(a(Full))()
    session["a"] = 1
    with pytest.raises(StoreUnavailable, match="3 new session keys"):
        session.save()
    assert session.session_key is None


# What a process can't read yet


def test_a_record_of_a_newer_release_is_an_outage_of_its_kind(clock: Clock) -> None:
    store = store_over(a(Newer))
    key = stored_in(store, a=1)
    with pytest.raises(StoreUnavailable, match="version 2") as caught:
        store(key).load()
    assert caught.value.kind is OutageKind.UNKNOWN_FORMAT


def test_a_record_of_a_newer_release_begins_no_outage_of_the_server(
    clock: Clock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    # It is one session's; the server answers.
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    store = store_over(a(Newer))
    session = store(stored_in(store, a=1))
    assert session.get("a") is None
    assert not any("does not answer" in message for message in caplog.messages)
    # And it keeps its cookie: a part of the site that is newer reads it.
    assert session.respond() is CookieAnswer.KEEP


def test_a_record_of_a_key_that_is_not_known_yet_is_an_outage_of_its_kind(
    settings: Settings,
) -> None:
    server = a(MemoryServer)
    store = store_over(server)
    settings.SECRET_KEY = "before"
    key = stored_in(store, a=1)
    # Written by the part of a deployment that has the new secret already.
    with override_settings(SECRET_KEY="after", SECRET_KEY_FALLBACKS=["before"]):
        newer = store(key)
        newer["a"] = 2
        newer.save()
    with pytest.raises(StoreUnavailable, match="SECRET_KEY_FALLBACKS") as caught:
        store(key).load()
    assert caught.value.kind is OutageKind.UNKNOWN_FORMAT
    with override_settings(SECRET_KEY_FALLBACKS=["after"]):
        assert store(key)["a"] == 2


def test_a_session_of_another_namespace_is_none(settings: Settings) -> None:
    server = a(MemoryServer)
    store = store_over(server)
    settings.MULTISESSION_NAMESPACE = "shop"
    key = stored_in(store, a=1)
    assert store(key)["a"] == 1
    with override_settings(MULTISESSION_NAMESPACE="blog"):
        assert store(key).get("a") is None
    assert store(key)["a"] == 1
