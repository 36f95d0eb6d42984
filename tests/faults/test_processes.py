"""Worker processes of a site that save one session at once, and some of them die in the midst."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from tests.engine_fixtures import DATABASES, Engine
from tests.faults.processes_worker import CONFLICT, SAVED, Orders, started
from tests.selection import left_to_release

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.once

PROCESSES, SAVES = 8, 50
#: What a killed worker leaves is the affair of the server. On memcached a save is one command.
SERVERS_THAT_PERSIST = ("redis-8.2", "mongodb-standalone", *DATABASES)
SERVERS = ("memcached", *SERVERS_THAT_PERSIST)


@pytest.fixture
def site(network_engine: Engine, settings: Settings) -> dict[str, Any]:
    """Return the settings with which another process is of the same site."""
    name = f"MULTISESSION_{network_engine.kind.upper()}"
    site = {"SESSION_ENGINE": network_engine.path, name: getattr(settings, name)}
    if network_engine.kind == "database":
        alias = network_engine.name
        entry = connections.settings[alias]
        written = {key: entry[key] for key in ("ENGINE", "NAME", "USER", "HOST", "PORT", "OPTIONS")}
        site["DATABASES"] = {"default": {}, alias: written}
    return site


@pytest.fixture
def session_key(network_engine: Engine, site: dict[str, Any]) -> str:
    session = network_engine.SessionStore()
    session["begun"] = True
    session.save()
    assert session.session_key is not None
    return session.session_key


def _stored(engine: Engine, session_key: str) -> dict[str, Any]:
    return dict(engine.SessionStore(session_key).items())


@pytest.mark.long
@pytest.mark.parametrize(
    "network_engine",
    left_to_release(SERVERS, {"redis-8.2", "database-postgresql"}),
    indirect=True,
)
def test_eight_processes_that_save_one_session_at_once_lose_no_entry_of_any(
    network_engine: Engine, site: dict[str, Any], session_key: str
) -> None:
    every = [
        Orders(
            settings=site,
            session_key=session_key,
            name=f"process-{number}",
            saves=SAVES,
            is_async=number % 2 == 1,
        )
        for number in range(PROCESSES)
    ]
    with started(*every) as workers:
        for worker in workers:
            worker.begin()
        ended = [worker.end() for worker in workers]
    assert "".join(err for _, err, _ in ended) == ""
    assert [code for *_, code in ended] == [0] * PROCESSES
    acknowledged = [line for lines, _, _ in ended for line in lines if line.startswith(SAVED)]
    assert len(acknowledged) == PROCESSES * SAVES
    # They met: otherwise this has shown nothing.
    assert any(CONFLICT in lines for lines, _, _ in ended)
    theirs = {
        f"process-{process}-{number}": number
        for process in range(PROCESSES)
        for number in range(SAVES)
    }
    assert _stored(network_engine, session_key) == {"begun": True} | theirs


@pytest.mark.long
@pytest.mark.parametrize(
    "network_engine",
    left_to_release(SERVERS_THAT_PERSIST, {"redis-8.2", "database-sqlite"}),
    indirect=True,
)
def test_of_workers_that_are_killed_amid_saves_what_was_acknowledged_is_there(
    network_engine: Engine, site: dict[str, Any], session_key: str
) -> None:
    every = [
        Orders(
            settings=site,
            session_key=session_key,
            name=f"process-{number}",
            is_async=number % 2 == 1,
        )
        for number in range(PROCESSES)
    ]
    with started(*every) as workers:
        killed, others = workers[: PROCESSES // 2], workers[PROCESSES // 2 :]
        for worker in workers:
            worker.begin()
        for worker in workers:
            worker.wait_for_saves(3)
        for worker in killed:
            worker.process.kill()
        # They go on without those.
        for worker in others:
            worker.wait_for_saves(3)
        ended = [(worker, *worker.end()) for worker in workers]
    assert [err for *_, err, _ in ended] == [""] * PROCESSES
    stored = _stored(network_engine, session_key)
    assert stored.pop("begun") is True
    for worker, lines, _, code in ended:
        pattern = re.compile(rf"{worker.orders.name}-(\d+)")
        numbers = sorted(int(found[1]) for name in stored if (found := pattern.fullmatch(name)))
        before = 3 if worker in killed else 6
        acknowledged = before + len([line for line in lines if line.startswith(SAVED)])
        assert numbers == list(range(len(numbers)))
        if worker in killed:
            assert code != 0
            # The last one may have been stored without anybody being told.
            assert len(numbers) - acknowledged in {0, 1}
        else:
            assert (code, len(numbers)) == (0, acknowledged)


@pytest.mark.long
@pytest.mark.parametrize("network_engine", ["redis-8.2", "mongodb-standalone"], indirect=True)
def test_a_worker_that_exits_before_its_save_is_answered_has_saved_it_whole_or_not_at_all(
    network_engine: Engine, site: dict[str, Any], session_key: str
) -> None:
    orders = Orders(settings=site, session_key=session_key, name="gone", saves=9, exits_in=5)
    with started(orders) as (worker,):
        worker.begin()
        lines, err, code = worker.end()
    assert (err, code) == ("", 1)
    assert lines == [f"{SAVED} {number}" for number in range(5)]
    session = network_engine.SessionStore(session_key)
    session["after"] = True
    session.save()
    # The server read what was sent before it read our save, or after: both are conditional.
    stored = _stored(network_engine, session_key)
    assert stored.pop("gone-5", 5) == 5
    assert stored == {"begun": True, "after": True} | {f"gone-{n}": n for n in range(5)}
