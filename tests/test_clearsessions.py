"""``manage.py clearsessions``: what goes and what stays, and what each option does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.management.commands import clearsessions as django_command
from django.contrib.sessions.models import Session
from django.core.management import get_commands
from django.core.management.base import CommandError

from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines._drivers import close_drivers
from django_multisession.management import clearing
from django_multisession.management.clearing import Tally
from django_multisession.management.commands import clearsessions
from django_multisession.records import EXPIRY_SLACK
from tests import clearsessions_calls
from tests.clearsessions_calls import Terminal, add_expired, clear, clear_json
from tests.drivers.mongodb_driving import HOUR, NOW, record
from tests.engine_fixtures import Engine, use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

#: Longer than any session lives by default.
LONG = timedelta(days=60)
Put = Callable[..., MemoryDriver]


@pytest.fixture
def put(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Put:
    """What makes a driver the engine's, with as many expired records as are asked for."""
    settings.SESSION_ENGINE = "tests.clearsessions_calls"

    def put(driver: MemoryDriver, expired: int = 0) -> MemoryDriver:
        monkeypatch.setattr(clearsessions_calls, "driver", driver)
        add_expired(driver, expired)
        return driver

    return put


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


@pytest.fixture(params=["memory", "mongodb-standalone"])
def engine(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Iterator[Engine]:
    """The engines in which something is left to remove, with a database that has expired in part."""
    yield use_engine(request.param, settings, running_servers)
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
        "expires_by_itself": True,
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
    assert out.endswith(
        " s. The session store removes them by itself; it had not come to these yet.\n"
    )
    assert err == ""
    assert clear() == (
        "There are no expired sessions to remove. The session store removes them by itself.\n",
        "",
    )


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
    assert (told["removed"], told["complete"]) == (0, True)
    assert clear("--dry-run")[0].startswith(
        "Dry run: 5 expired sessions are to be removed, none was. "
    )
    assert engine.driver.count_expired(datetime.max.replace(tzinfo=NOW.tzinfo)) == 8
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

        def purge_expired(self, now: datetime, limit: int) -> int:
            removed = super().purge_expired(now, limit)
            clock.advance(seconds=1)
            over_by_now = record(touched_at=clock.now - HOUR - EXPIRY_SLACK, hard_deadline_at=None)
            self.add(f"later-{clock.now}", over_by_now)
            return removed

    busy = put(Busy(), expired=3)
    told = clear_json("--batch-size", "1")
    assert (told["removed"], told["complete"]) == (3, True)
    assert busy.count_expired(clock.advance(seconds=1)) == len(busy) == 4


# Redis


def test_redis_has_nothing_to_tidy_and_is_said_to_do_it_by_itself(
    settings: Settings, running_servers: Running, clock: Clock
) -> None:
    engine = use_engine("redis-8.2", settings, running_servers)
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


# Options


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "many", "", "1e3"])
def test_a_batch_size_that_is_none_is_named(put: Put, value: str) -> None:
    with pytest.raises(CommandError) as caught:
        clear(f"--batch-size={value}")
    assert str(caught.value) == (f"--batch-size must be a whole number, 1 or more (got {value!r}).")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon", ""])
def test_a_time_limit_that_is_none_is_named(put: Put, value: str) -> None:
    with pytest.raises(CommandError) as caught:
        clear(f"--max-seconds={value}")
    assert str(caught.value) == (
        f"--max-seconds must be a number of seconds, 0 or more (got {value!r})."
    )


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"batch_size": True}, {"max_seconds": -1}])
def test_code_that_calls_the_command_gets_the_same_errors(put: Put, given: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=" must be "):
        clear(**given)


def test_code_may_call_the_command_with_numbers(put: Put) -> None:
    put(MemoryDriver(), expired=3)
    told = json.loads(clear(batch_size=1, max_seconds=0.0, json=True)[0])
    assert told["removed"] == 1


# Engines that are not ours


@pytest.mark.django_db
def test_another_engine_gets_what_djangos_command_does(settings: Settings, clock: Clock) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    for days in (-1, 1):
        Session.objects.create(session_key=f"{days}", expire_date=clock.now + timedelta(days=days))
    assert clear() == ("", "")
    assert [session.session_key for session in Session.objects.all()] == ["1"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--batch-size=5"], "--batch-size"),
        (["--max-seconds=0"], "--max-seconds"),
        (["--dry-run"], "--dry-run"),
        (["--json"], "--json"),
        (["--json", "--dry-run"], "--dry-run and --json"),
    ],
)
def test_an_option_that_another_engine_cannot_honour_is_refused(
    settings: Settings, options: list[str], named: str
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    with pytest.raises(CommandError) as caught:
        clear(*options)
    assert str(caught.value) == (
        f"{named} must be left out unless SESSION_ENGINE is an engine of django_multisession "
        "(got django.contrib.sessions.backends.db)."
    )


@pytest.mark.parametrize(
    ("apps", "owner"),
    [
        (["django_multisession", "django.contrib.sessions"], "django_multisession"),
        (["django.contrib.sessions", "django_multisession"], "django.contrib.sessions"),
        (["django_multisession"], "django_multisession"),
    ],
)
def test_the_app_that_comes_first_has_the_command(
    settings: Settings, apps: list[str], owner: str
) -> None:
    settings.INSTALLED_APPS = apps
    assert get_commands()["clearsessions"] == owner


# The reference


def documented(heading: str) -> list[str]:
    """Return what the table below *heading* begins its rows with."""
    page = Path(__file__).parents[1] / "docs" / "reference" / "clearsessions.md"
    section = page.read_text(encoding="utf-8").partition(heading)[2].partition("\n\nThe ")[0]
    return re.findall(r"^\| `([^` ]+)", section.partition("\n## ")[0], re.MULTILINE)


def test_every_option_is_in_the_reference() -> None:
    ours, djangos = (
        re.findall(r"--[a-z-]+", of.Command().create_parser("manage.py", "").format_usage())
        for of in (clearsessions, django_command)
    )
    added = [option for option in ours if option not in djangos]
    assert documented("## Options") == [*added, "--verbosity"]


def test_every_field_of_the_json_is_in_the_reference() -> None:
    fields = json.loads(clearing.as_json(Tally(), engine="", expires_by_itself=True))
    assert documented("With `--json`:") == list(fields)
