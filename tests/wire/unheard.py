"""Sessions behind a proxy, and saves that are made although nobody hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
import redis

from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.verbs import Run, SessionVerbs, open_runner
from tests.drivers.memcached_driving import looking
from tests.engine_fixtures import PATIENCE, Engine, add_options
from tests.proxy import TCPProxy

if TYPE_CHECKING:
    from pytest_django import Settings

#: What the proxy calls a write over a record, a read, and a move.
REPLACING = {"redis": "evalsha", "mongodb": "update", "memcached": "cas"}
GETTING = {"redis": "get", "mongodb": "find", "memcached": "gets"}
MOVING = {"redis": "evalsha", "mongodb": "update", "memcached": "cas"}

Open = Callable[..., SessionVerbs]
Unheard = Callable[..., None]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Iterator[Run | None]:
    run, close = open_runner(request.param)
    yield run
    close()


@pytest.fixture
def open_session(engine: Engine, settings: Settings, run: Run | None) -> Iterator[Open]:
    settings.MULTISESSION_CONFLICT_RESOLVERS = {
        "visits": "django_multisession.resolvers.sum_of_changes"
    }
    if engine.kind == "mongodb":
        # Nothing here waits for a server that is gone, so no pause of a busy machine is an outage.
        add_options("mongodb", settings, {**PATIENCE["mongodb"], "heartbeatFrequencyMS": 500})
    # Redis gets its scripts, MongoDB its indexes.
    warm = SessionVerbs(engine.SessionStore(), run)
    for turn in range(2):
        warm["turn"] = turn
        warm.save()
    warm.cycle_key()
    warm.save()
    yield lambda key=None: SessionVerbs(engine.SessionStore(key), run)
    if run is not None:
        run(engine.driver.aclose())


@pytest.fixture
def save_unheard(engine: Engine, proxy: TCPProxy) -> Unheard:
    """Save a session, and lose the answer as often as the driver asks for it."""

    def save(session: SessionVerbs, command: str | None = None) -> None:
        command = command or REPLACING[engine.kind]
        proxy.reset()
        proxy.cut_next_answer(command, times=2)
        with pytest.raises(StoreUnavailable):
            session.save()
        assert [name.lower() for name in proxy.commands].count(command.lower()) == 2

    return save


def begun(open_session: Open, **entries: Any) -> str:
    """Return the key of a session that an earlier request stored."""
    session = open_session()
    session.update(entries)
    session.save()
    assert session.key is not None
    return session.key


def collect(engine: Engine, settings: Settings, key: str) -> None:
    """Remove what is left under *key*, as the server does by itself after a minute."""
    if engine.kind == "redis":
        with redis.Redis.from_url(engine.server.url) as server:
            assert server.delete(settings.MULTISESSION_REDIS["KEY_PREFIX"] + key) == 1
    elif engine.kind == "memcached":
        with looking(engine.server) as client:
            place = settings.MULTISESSION_MEMCACHED["KEY_PREFIX"] + key
            assert client.delete(place, noreply=False)
    else:
        options = settings.MULTISESSION_MONGODB
        with pymongo.MongoClient[dict[str, Any]](engine.server.url) as client:
            sessions = client[options["DATABASE"]][options["COLLECTION"]]
            assert sessions.delete_one({"_id": key}).deleted_count == 1
