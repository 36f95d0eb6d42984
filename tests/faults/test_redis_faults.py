"""What sessions make of a Redis that hangs, dies, comes back with or without its data, or refuses.

Lost answers are in tests/drivers/test_redis.py, tests/wire/test_lost_answers.py and below; what
pages make of an outage is in tests/wire/test_outage.py.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from servers import RedisServer

from django_multisession.core.records import SAVED
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.testing.driver.fixtures import NOW, left_by, make_record
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.verbs import DriverVerbs, Run
from tests.drivers.redis_fixtures import within_deadline
from tests.drivers.redis_proxy import RedisProxy
from tests.faults.redis_site import LoadingRedis, Open, opener, stored, use_redis
from tests.faults.sentinel_load import Load

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

pytestmark = pytest.mark.once

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")

Start = Callable[..., RedisServer]
Configure = Callable[..., Any]


@pytest.fixture
def open_session(run: Run | None) -> Open:
    return opener(run)


@pytest.fixture
def start(running_servers: Running, settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Start a Redis of this test's own, as the site's."""
    with contextlib.ExitStack() as stack:

        def start(
            *options: str, version: str = "8.2", kind: type[RedisServer] = RedisServer, **ours: Any
        ) -> RedisServer:
            binary = running_servers.redis(f"redis-{version}").binary
            server = stack.enter_context(kind(binary, tmp_path / "redis", *options))
            use_redis(server, settings, **ours)
            return server

        yield start
        close_drivers()


def test_a_server_that_was_killed_and_kept_nothing_interrupts_what_was_open_and_begins_afresh(
    start: Start, open_session: Open
) -> None:
    server = start()
    key = stored(open_session, name="before")
    session = open_session(key)
    session["name"] = "after"
    server.kill()
    with pytest.raises(StoreUnavailable):
        session.save()
    server.start()
    # What was ended must not come back by a save, and nobody can tell this from that.
    with pytest.raises(SessionEnded):
        session.save()
    visit = open_session(key)
    assert visit.entries() == {}
    visit["name"] = "new"
    visit.save()
    assert visit.key not in {None, key}
    assert open_session(visit.key).entries() == {"name": "new"}


@pytest.mark.parametrize("version", ["6.2", "7.0", "8.2"])
def test_a_server_that_was_killed_and_syncs_always_has_all_that_was_acknowledged(
    start: Start, mode: str, version: str
) -> None:
    server = start(*ALWAYS, version=version)
    SessionStore.get_driver()
    with Load(SessionStore, mode) as load:
        load.wait_for_acknowledgements(25)
        server.kill()
        load.wait_for_refusals()
        server.start()
        load.wait_for_acknowledgements(25)
    judgement = load.judge()
    assert judgement.saves
    assert judgement.logouts
    assert (judgement.lost, judgement.undone) == (0, 0)


def test_while_a_server_loads_its_data_it_is_an_outage_and_nobody_is_logged_out(
    start: Start, open_session: Open
) -> None:
    # Keys come slowly, and it answers between two of them: after each 1024 bytes.
    options = ("--key-load-delay", "200000", "--loading-process-events-interval-bytes", "1024")
    server = start(*options, kind=LoadingRedis)
    names = [secrets.token_hex(2000) for _ in range(15)]
    keys = [stored(open_session, name=name) for name in names]
    with redis.Redis(port=server.port) as client:
        client.save()
    server.kill()
    server.start()
    with pytest.raises(StoreUnavailable, match=r"not ready \(LOADING"):
        open_session(keys[0]).get("name")
    with redis.Redis(port=server.port) as client:
        # Nobody waits for the rest of it.
        client.config_set("key-load-delay", 0)
    within_deadline(lambda: _is_served(open_session, keys[0]))
    assert [open_session(key).get("name") for key in keys] == names


def _is_served(open_session: Open, key: str) -> bool:
    try:
        open_session(key).get("name")
    except StoreUnavailable:
        return False
    return True


def test_a_save_that_a_hanging_server_takes_up_late_is_whole_and_stands_in_nobodys_way(
    start: Start, open_session: Open
) -> None:
    server = start(socket_timeout=0.3)
    key, other = stored(open_session, name="before"), stored(open_session, name="before")
    late, late_other = open_session(key), open_session(other)
    late["name"] = late["second"] = late_other["name"] = "late"
    server.pause()
    for session in (late, late_other):
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            session.save()
    server.resume()
    open_session(other).flush()
    # What comes too late for that is refused.
    assert open_session(other).entries() == {}
    assert open_session(key).entries() in (
        {"name": "before"},
        {"name": "late", "second": "late"},
    )
    late.save()
    assert open_session(key).entries() == {"name": "late", "second": "late"}
    with pytest.raises(SessionEnded):
        late_other.save()


@contextlib.contextmanager
def _read_only(client: Any) -> Iterator[None]:
    client.replicaof("127.0.0.1", 1)
    yield
    client.replicaof("NO", "ONE")


@contextlib.contextmanager
def _without_replicas(client: Any) -> Iterator[None]:
    client.config_set("min-replicas-to-write", 1)
    yield
    client.config_set("min-replicas-to-write", 0)


@contextlib.contextmanager
def _full(client: Any) -> Iterator[None]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    yield
    client.config_set("maxmemory", 0)


@pytest.mark.parametrize("version", ["6.2", "7.0", "8.2"])
@pytest.mark.parametrize("refusing", [_read_only, _without_replicas, _full])
def test_what_a_server_refuses_leaves_the_session_as_it_was_and_can_be_saved_later(
    start: Start, open_session: Open, refusing: Any, version: str
) -> None:
    server = start(version=version)
    key = stored(open_session, name="before")
    session, moving, used = open_session(key), open_session(key), open_session(key)
    session["name"] = "after"
    moving.cycle_key()
    assert used.entries() == {"name": "before"}
    with redis.Redis(port=server.port, protocol=2) as client:
        with refusing(client):
            with pytest.raises(StoreUnavailable):
                session.save()
            with pytest.raises(StoreUnavailable):
                moving.save()
            with pytest.raises(StoreUnavailable):
                stored(open_session, name="new")
            assert open_session(key).entries() == {"name": "before"}
            if refusing is not _full:
                with pytest.raises(StoreUnavailable):
                    open_session(key).flush()
        names = client.keys()
    assert len(names) == 1
    session.save()
    assert open_session(key).entries() == {"name": "after"}
    moving.save()
    assert open_session(moving.key).entries() == {"name": "after"}


def test_a_logout_goes_through_on_a_full_server(start: Start, open_session: Open) -> None:
    server = start()
    key = stored(open_session, name="before")
    with redis.Redis(port=server.port, protocol=2) as client, _full(client):
        open_session(key).flush()
        assert open_session(key).entries() == {}


def test_a_cycle_whose_answer_is_lost_is_told_as_it_was_done(start: Start, run: Run | None) -> None:
    with RedisProxy(start().port) as proxy:
        driver = RedisDriver({"URL": proxy.url})
        verbs, record = DriverVerbs(driver, run), make_record()
        verbs.add("old", record)
        new = next_write(record)
        proxy.answers_to_lose = 1
        assert verbs.move("old", "new", new, record, left_by(new, "new"), NOW) == SAVED
        assert verbs.get("new") == new
        assert verbs.get("old") == left_by(new, "new")
        verbs.close()
        driver.close()
