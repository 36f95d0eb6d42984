"""``manage.py clearsessions``: what goes and what stays, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.sessions.management.commands import clearsessions as django_command
from django.core.management import call_command

from django_multisession.core.records import END_MS, NEVER, SLACK_MS, to_milliseconds
from django_multisession.drivers.base import Purging, Steps, run
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engine import close_drivers
from django_multisession.session.store import PURGE_BATCH
from tests.clearsessions_calls import Put, Terminal, clear, clear_json, put
from tests.drivers.mongodb_driving import HOUR, record
from tests.engine_fixtures import Engine, use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

__all__ = ["put"]

#: Longer than any session lives by default.
LONG = timedelta(days=60)


def store(engine: Engine, number: int) -> list[str]:
    keys = []
    for _ in range(number):
        session = engine.SessionStore()
        session["a"] = 1
        session.save()
        assert session.session_key is not None
        keys.append(session.session_key)
    return keys


def live_of(engine: Engine, keys: list[str]) -> list[str]:
    return [key for key in keys if engine.SessionStore().exists(key)]


def count_all(engine: Engine) -> int:
    """Count what is stored: at the end of time, everything has expired."""
    assert isinstance(engine.driver, Purging)
    return run(engine.driver.count_expired(END_MS))


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Iterator[Engine]:
    """The engine in which something is left to remove: the others' servers do it by themselves."""
    yield use_engine("memory", settings, running_servers)
    close_drivers()


@pytest.fixture
def keys(engine: Engine, clock: Clock) -> list[str]:
    """Session keys of three live sessions, stored beside five that have expired."""
    store(engine, 5)
    clock.advance(LONG)
    return store(engine, 3)


# What goes and what stays


def test_exactly_the_expired_sessions_go(engine: Engine, keys: list[str]) -> None:
    told = clear_json()
    assert told == {
        "engine": engine.path,
        "expires_by_itself": False,
        "dry_run": False,
        "expired": None,
        "removed": 5,
        "batches": 1,
        "seconds": told["seconds"],
        "complete": True,
        "stopped_by": None,
    }
    assert live_of(engine, keys) == keys
    assert clear_json()["removed"] == 0


def test_it_says_what_it_removed(engine: Engine, keys: list[str]) -> None:
    out, err = clear()
    assert out.startswith("Removed 5 expired sessions in 1 batch, ")
    assert out.endswith(" s.\n")
    assert err == ""
    assert clear() == ("There are no expired sessions to remove.\n", "")


def test_a_batch_removes_no_more_than_its_size(engine: Engine, keys: list[str]) -> None:
    told = clear_json("--batch-size", "2")
    assert (told["removed"], told["batches"], told["complete"]) == (5, 3, True)
    assert live_of(engine, keys) == keys


def test_the_time_limit_stops_after_a_batch(engine: Engine, keys: list[str]) -> None:
    told = clear_json("--batch-size", "2", "--max-seconds", "0")
    assert (told["removed"], told["batches"]) == (2, 1)
    assert (told["complete"], told["stopped_by"]) == (False, "max_seconds")
    out, _ = clear("--batch-size=2", "--max-seconds=0")
    assert out.startswith("Removed 2 expired sessions in 1 batch, ")
    assert out.endswith(" s. Stopped by --max-seconds: there may be more.\n")
    # The last batch is not full: nothing is left to be stopped.
    assert clear_json("--batch-size", "2", "--max-seconds", "0")["complete"] is True


def test_a_dry_run_counts_and_removes_nothing(engine: Engine, keys: list[str]) -> None:
    told = clear_json("--dry-run")
    assert told["dry_run"] is True
    assert told["expired"] == 5
    assert (told["removed"], told["complete"]) == (0, None)
    assert clear("--dry-run")[0] == "Dry run: 5 expired sessions are to be removed, none was.\n"
    assert count_all(engine) == 8
    assert clear_json()["removed"] == 5
    assert clear_json("--dry-run")["expired"] == 0


def test_verbosity_0_prints_nothing_but_the_json_that_is_asked_for(
    engine: Engine, keys: list[str]
) -> None:
    assert clear("--verbosity=0", "--dry-run") == ("", "")
    assert clear("--verbosity=0", "--batch-size=1", stderr=Terminal()) == ("", "")
    out, err = clear("--verbosity=0", "--json")
    assert json.loads(out)["removed"] == 0
    assert err == ""


def test_what_expires_meanwhile_is_the_next_runs(clock: Clock, put: Put) -> None:
    class Busy(MemoryDriver):
        """Another session expires while a batch is removed: under traffic that never ends."""

        def purge_expired(self, now: int, limit: int) -> Steps[int]:
            removed = yield from super().purge_expired(now, limit)
            clock.advance(seconds=1)
            used_ms = to_milliseconds(clock.now) - HOUR - SLACK_MS
            over_by_now = record(touched_ms=used_ms, deadline_ms=NEVER)
            yield from self.add(f"later-{clock.now}", over_by_now)
            return removed

    busy = put(Busy(), expired=3)
    told = clear_json("--batch-size", "1")
    assert (told["removed"], told["complete"]) == (3, True)
    later = to_milliseconds(clock.advance(seconds=1))
    assert run(busy.count_expired(later)) == len(busy) == 4


# Django's own command


def test_djangos_own_command_removes_exactly_the_expired_sessions(
    engine: Engine, clock: Clock
) -> None:
    # One more than it removes at once.
    expired = store(engine, PURGE_BATCH + 1)
    clock.advance(LONG)
    live = store(engine, 1)
    assert count_all(engine) == len(expired) + 1
    call_command(django_command.Command())
    assert live_of(engine, live) == live
    assert count_all(engine) == 1


# Redis and MongoDB


@pytest.mark.parametrize("name", ["redis-8.2", "mongodb-standalone"])
def test_a_server_that_tidies_by_itself_leaves_nothing_and_is_said_to_do_so(
    name: str, settings: Settings, running_servers: Running, clock: Clock
) -> None:
    engine = use_engine(name, settings, running_servers)
    keys = store(engine, 2)
    assert clear() == (
        "There are no expired sessions to remove. The session store removes them by itself.\n",
        "",
    )
    assert clear("--dry-run") == clear()
    told = clear_json("--batch-size=1", "--max-seconds=0")
    assert (told["removed"], told["complete"], told["expires_by_itself"]) == (0, True, True)
    assert live_of(engine, keys) == keys
    close_drivers()


def test_redis_is_not_asked_for_what_it_does_by_itself(settings: Settings) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.redis"
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1/0"}
    assert clear_json()["expires_by_itself"]
    close_drivers()
