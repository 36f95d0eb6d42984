"""What sessions in two tiers make of a front that hangs, dies, comes back empty, or refuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from servers import RedisServer

from django_multisession import signals
from django_multisession.drivers.tiered import front
from django_multisession.engine import close_drivers
from django_multisession.engines.tiered import SessionStore
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.testing.verbs import Run, SessionVerbs
from tests.drivers.redis_proxy import RedisProxy
from tests.engine_fixtures import TIERED, use_engine
from tests.faults.processes_worker import CONFLICT, PATIENCE_SECONDS, SAVED, Orders, started
from tests.faults.sentinel_load import Load

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

pytestmark = pytest.mark.once

NAMES = ("SESSION_ENGINE", "MULTISESSION_TIERED", "MULTISESSION_REDIS", "MULTISESSION_MONGODB")


@pytest.fixture
def server(running_servers: Running, settings: Settings, tmp_path: Path) -> Iterator[RedisServer]:
    """Return a Redis of this test's own, as the front of the site."""
    use_engine(TIERED, settings, running_servers)
    binary = running_servers.redis("redis-8.2").binary
    with RedisServer(binary, tmp_path / "redis") as server:
        settings.MULTISESSION_REDIS = {"URL": server.url}
        yield server
        close_drivers()


@pytest.fixture
def outages() -> Iterator[list[Any]]:
    """Return what the signals say of outages."""
    told: list[Any] = []

    def note(signal: Any, **_: Any) -> None:
        told.append(signal)

    for signal in (signals.outage_began, signals.outage_ended):
        signal.connect(note)
    yield told
    for signal in (signals.outage_began, signals.outage_ended):
        signal.disconnect(note)


def open_(run: Run | None, key: str | None = None) -> SessionVerbs:
    return SessionVerbs(SessionStore(key), run)


def stored(run: Run | None, **entries: Any) -> str:
    """Return the key of a session with *entries* that was read, so that the front has a copy."""
    session = open_(run)
    session.update(entries)
    session.save()
    assert open_(run, session.key).entries() == entries
    assert session.key is not None
    return session.key


def test_a_dead_front_takes_nothing_from_a_site(
    server: RedisServer, run: Run | None, outages: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    key, ended = stored(run, name="before"), stored(run, name="ended")
    old = open_(run, ended)
    assert old["name"] == "ended"
    server.kill()
    session = open_(run, key)
    assert session.entries() == {"name": "before"}
    session["name"] = "after"
    session.save()
    open_(run, ended).flush()
    session.cycle_key()
    session.save()
    server.start()
    assert open_(run, session.key).entries() == {"name": "after"}
    assert open_(run, key).entries() == open_(run, ended).entries() == {}
    old["name"] = "revived"
    with pytest.raises(SessionEnded):
        old.save()
    assert outages == []
    assert [line.name for line in caplog.records] == [front.__name__] * 2
    assert caplog.messages[1] == "The front of the sessions answers again."


@pytest.mark.parametrize("is_late", [False, True], ids=["unread", "read"])
def test_a_front_that_lost_everything_is_filled_again(
    server: RedisServer, run: Run | None, *, is_late: bool
) -> None:
    key = stored(run, name="before")
    session = open_(run, key)
    if is_late:
        assert session["name"] == "before"
    with redis.Redis(port=server.port) as client:
        client.flushall()
        session["name"] = "after"
        session.save()
        assert open_(run, key).entries() == {"name": "after"}
        assert client.keys() == [key_of(session)]
        client.flushall()
        open_(run, key).flush()
        assert open_(run, key).entries() == {}


def key_of(session: SessionVerbs) -> bytes:
    """Return the name of the copy in Redis."""
    verified = session.session._inner.key
    assert verified is not None
    return f"multisession:copy:{verified.storage_key}".encode()


def test_a_front_that_is_full_keeps_no_old_copy(server: RedisServer, run: Run | None) -> None:
    key = stored(run, name="before")
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", 1)
        session = open_(run, key)
        session["name"] = "after"
        session.save()
        assert open_(run, key).entries() == {"name": "after"}
        open_(run, key).flush()
        assert open_(run, key).entries() == {}
        client.config_set("maxmemory", 0)


def test_a_front_that_hangs_costs_a_read_one_timeout(
    server: RedisServer, run: Run | None, settings: Settings, outages: list[Any]
) -> None:
    timeout = 0.3
    settings.MULTISESSION_REDIS = {"URL": server.url, "OPTIONS": {"socket_timeout": timeout}}
    key = stored(run, name="before")
    server.pause()
    try:
        began_at = time.monotonic()
        assert open_(run, key).entries() == {"name": "before"}
        assert time.monotonic() - began_at >= timeout
        # The next ones don't ask it.
        driver: Any = SessionStore.get_driver()
        failed_ms = driver._front._failed_ms
        assert failed_ms is not None
        for _ in range(5):
            assert open_(run, key).entries() == {"name": "before"}
        assert driver._front._failed_ms == failed_ms
        open_(run, key).flush()
    finally:
        server.resume()
    assert outages == []
    # What it was sent meanwhile it does now.
    assert open_(run, key).entries() == {}


@pytest.mark.parametrize("lost", range(1, 4))
def test_lost_answers_of_the_front_undo_no_save_and_no_end(
    server: RedisServer, run: Run | None, settings: Settings, lost: int
) -> None:
    with RedisProxy(server.port) as proxy:
        settings.MULTISESSION_REDIS = {"URL": proxy.url}
        key = stored(run, name="before")
        session = open_(run, key)
        session["name"] = "after"
        proxy.answers_to_lose = lost
        session.save()
        assert open_(run, key).entries() == {"name": "after"}
        proxy.answers_to_lose = lost
        open_(run, key).flush()
        proxy.answers_to_lose = 0
        assert open_(run, key).entries() == {}


@pytest.mark.long
def test_without_the_back_a_copy_can_be_read_and_nothing_be_saved(
    server: RedisServer, run: Run | None, settings: Settings, outages: list[Any]
) -> None:
    key, unread = stored(run, name="before"), open_(run)
    unread["name"] = "unread"
    unread.save()
    settings.MULTISESSION_MONGODB = {
        "URI": "mongodb://127.0.0.1:1",
        "OPTIONS": {"serverSelectionTimeoutMS": 200},
    }
    session = open_(run, key)
    assert session.entries() == {"name": "before"}
    session["name"] = "after"
    with pytest.raises(StoreUnavailable):
        session.save()
    with pytest.raises(StoreUnavailable):
        open_(run, unread.key).get("name")
    # Answers of the front don't end the outage.
    assert outages == [signals.outage_began]


@pytest.mark.long
def test_under_load_a_front_that_dies_and_is_emptied_loses_no_save_and_undoes_no_logout(
    server: RedisServer, mode: str
) -> None:
    SessionStore.get_driver()
    with Load(SessionStore, mode) as load, redis.Redis(port=server.port) as client:
        for _ in range(2):
            load.wait_for_acknowledgements(12)
            server.kill()
            load.wait_for_acknowledgements(12)
            server.start()
            load.wait_for_acknowledgements(12)
            client.flushall()
        load.wait_for_acknowledgements(12)
    judgement = load.judge()
    assert judgement.saves
    assert judgement.logouts
    assert (judgement.lost, judgement.undone) == (0, 0)
    assert [visitor.refused_at for visitor in load.visitors] == [[]] * len(load.visitors)


@pytest.mark.long
def test_processes_that_save_one_session_lose_no_entry_of_any(
    running_servers: Running, settings: Settings
) -> None:
    use_engine(TIERED, settings, running_servers)
    key = stored(None, begun=True)
    site = {name: getattr(settings, name) for name in NAMES}
    every = [
        Orders(settings=site, session_key=key, name=f"process-{n}", saves=20, is_async=n % 2 == 1)
        for n in range(4)
    ]
    with started(*every) as workers:
        for worker in workers:
            worker.begin()
        ended = [worker.end() for worker in workers]
    assert "".join(err for _, err, _ in ended) == ""
    saved = [line for lines, _, _ in ended for line in lines if line.startswith(SAVED)]
    assert len(saved) == 4 * 20
    # They met: otherwise this has shown nothing.
    assert any(CONFLICT in lines for lines, _, _ in ended)
    theirs = {f"process-{n}-{number}": number for n in range(4) for number in range(20)}
    # From the front, and from the back.
    for _ in range(2):
        assert open_(None, key).entries() == {"begun": True} | theirs
        close_drivers()


def test_a_logout_in_one_process_ends_the_copy_that_another_one_made(
    running_servers: Running, settings: Settings
) -> None:
    use_engine(TIERED, settings, running_servers)
    key = stored(None, begun=True)
    site = {name: getattr(settings, name) for name in NAMES}
    with started(Orders(settings=site, session_key=key, name="other")) as (worker,):
        worker.begin()
        worker.wait_for_saves(3)
        open_(None, key).flush()
        # By itself, at its next save.
        worker.process.wait(PATIENCE_SECONDS)
        _, err, code = worker.end()
    assert code
    assert "SessionEnded" in err
    for _ in range(2):
        assert open_(None, key).entries() == {}
