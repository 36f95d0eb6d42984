"""What the Redis driver does when Redis cannot answer, and when many ask at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import RedisServer

from django_multisession.core.records import NEVER
from django_multisession.drivers import base
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import NOW, SECOND, left_by, make_end, make_record
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.verbs import DriverVerbs, Run
from tests.drivers.redis_fixtures import (
    Connect,
    Verb,
    call,
    configure,
    connect,
    connections_of,
    own_redis,
    run,
    within_deadline,
)
from tests.drivers.redis_proxy import RedisProxy

__all__ = ["call", "connect", "own_redis", "run"]


def test_a_stopped_server_is_unavailable_and_a_started_one_serves_again(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    driver, record = connect(own_redis), make_record()
    moved = next_write(record)
    call(driver.add, "key", record)
    for stop in (own_redis.stop, own_redis.kill):
        stop()
        for verb, *arguments in (
            (driver.get, "key"),
            (driver.add, "other", record),
            (driver.replace, "key", moved, record, NOW),
            (driver.move, "key", "new", moved, record, left_by(moved, "new"), NOW),
            (driver.touch, "key", record, NOW, NOW),
            (driver.retire, "key", record, make_end(), NOW, NEVER),
            (driver.withdraw, "key", record),
            (driver.delete, "key", make_end()),
        ):
            with pytest.raises(
                StoreUnavailable, match=r"^Redis at 127\.0\.0\.1:\d+/0 did not answer \(Conn"
            ) as caught:
                call(verb, *arguments)
            assert caught.value.kind is OutageKind.UNREACHABLE
        own_redis.start()
        assert call(driver.get, "key") is None
        assert call(driver.add, "key", record)


def test_a_dead_connection_does_not_reach_a_request(
    own_redis: RedisServer, connect: Connect
) -> None:
    async def fill_and_restart() -> None:
        driver = connect(own_redis, max_connections=20)
        await asyncio.gather(*(base.arun(driver.get("key")) for _ in range(100)))
        assert connections_of(own_redis) == 1
        own_redis.restart()
        for _ in range(3):
            await asyncio.gather(*(base.arun(driver.get("key")) for _ in range(100)))
        await driver.aclose()

    asyncio.run(fill_and_restart())


def test_a_lost_connection_costs_one_more_try_and_no_third(
    call: Verb, newest_redis: RedisServer, connect: Connect
) -> None:
    with RedisProxy(newest_redis.port) as proxy:
        driver, record = connect(proxy), make_record()
        call(driver.add, "key", record)
        proxy.forget()
        proxy.answers_to_lose = 2
        with pytest.raises(StoreUnavailable, match="Connection") as caught:
            call(driver.touch, "key", record, NOW, NOW)
        assert caught.value.kind is OutageKind.UNREACHABLE
        tries = [command for command in proxy.commands if command.startswith("EVAL")]
        # The second connection may fall at the handshake already.
        assert 1 <= len(tries) <= 2


def test_a_hanging_server_costs_one_timeout(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    with RedisProxy(own_redis.port) as proxy:
        driver, record = connect(proxy, socket_timeout=0.2), make_record()
        call(driver.add, "key", record)
        proxy.forget()
        own_redis.pause()
        with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.2 s\.$") as caught:
            call(driver.add, "key", record)
        assert caught.value.kind is OutageKind.TIMED_OUT
        assert proxy.commands == ["EVALSHA"]
        own_redis.resume()
        # What the server says late is not taken for an answer.
        for _ in range(10):
            assert call(driver.get, "absent") is None
            assert call(driver.get, "key") == record


def test_a_wrong_password_is_unavailable_and_not_told(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    configure(own_redis, "CONFIG", "SET", "requirepass", "right-secret")
    driver = connect(own_redis, password="wrong-secret")
    with pytest.raises(StoreUnavailable, match="WRONGPASS") as caught:
        call(driver.get, "key")
    assert caught.value.kind is OutageKind.REFUSED
    warning = driver.check()[0]
    assert warning.id == "multisession.E105"
    assert "secret" not in f"{caught.value} {warning} {driver!r} {driver.server._endpoint!r}"
    assert call(connect(own_redis, password="right-secret").get, "key") is None


def test_a_read_only_replica_is_unavailable(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    driver, record = connect(own_redis), make_record()
    call(driver.add, "key", record)
    configure(own_redis, "REPLICAOF", "127.0.0.1", "1")
    moved = next_write(record)
    for verb, *arguments in (
        (driver.add, "other", record),
        (driver.replace, "key", moved, record, NOW),
        (driver.move, "key", "new", moved, record, left_by(moved, "new"), NOW),
        (driver.touch, "key", record, NOW + SECOND, NOW),
        (driver.retire, "key", record, make_end(), NOW, NEVER),
        (driver.withdraw, "key", record),
        (driver.delete, "key", make_end()),
    ):
        with pytest.raises(StoreUnavailable, match="READONLY") as caught:
            call(verb, *arguments)
        assert caught.value.kind is OutageKind.REFUSED
    assert call(driver.get, "key") == record


def test_a_full_server_is_unavailable_and_left_as_it_was(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    driver, record = connect(own_redis), make_record()
    moved = next_write(record)
    call(driver.add, "key", record)
    configure(own_redis, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    configure(own_redis, "CONFIG", "SET", "maxmemory", "1")
    for verb, *arguments in (
        (driver.add, "other", record),
        (driver.replace, "key", moved, record, NOW),
        (driver.move, "key", "new", moved, record, left_by(moved, "new"), NOW),
        (driver.touch, "key", record, NOW + SECOND, NOW),
        (driver.retire, "key", record, make_end(), NOW, NEVER),
    ):
        with pytest.raises(StoreUnavailable, match="OOM") as caught:
            call(verb, *arguments)
        assert caught.value.kind is OutageKind.REFUSED
    assert call(driver.get, "key") == record
    assert call(driver.get, "new") is None
    # A logout goes through.
    assert call(driver.delete, "key", make_end())


def test_threads_that_find_no_free_connection_are_told_of_an_overload(
    own_redis: RedisServer, connect: Connect
) -> None:
    driver = connect(own_redis, max_connections=1, timeout=0.1, socket_timeout=20)
    base.run(driver.get("key"))
    own_redis.pause()
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(lambda: base.run(driver.get("key")))
        within_deadline(lambda: not driver.server._pool._free)
        with pytest.raises(StoreUnavailable) as caught:
            base.run(driver.get("key"))
        assert caught.value.kind is OutageKind.OVERLOADED
        own_redis.resume()
        assert hanging.result(30) is None
    assert base.run(driver.get("key")) is None


def test_a_hundred_coroutines_share_the_connections_of_the_pool(
    own_redis: RedisServer, connect: Connect
) -> None:
    async def ask() -> None:
        driver = connect(own_redis, max_connections=7)
        records = {str(number): make_record() for number in range(100)}
        added = await asyncio.gather(*(base.arun(driver.add(key, records[key])) for key in records))
        assert all(added)
        found = await asyncio.gather(*(base.arun(driver.get(key)) for key in records))
        assert found == list(records.values())
        assert connections_of(own_redis) <= 7

    asyncio.run(ask())
    within_deadline(lambda: connections_of(own_redis) == 0)


def test_a_hundred_threads_share_the_connections_of_the_pool(
    own_redis: RedisServer, connect: Connect
) -> None:
    driver, record, found = connect(own_redis, max_connections=7), make_record(), []
    base.run(driver.add("key", record))
    threads = [
        threading.Thread(target=lambda: found.append(base.run(driver.get("key"))))
        for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [record] * 100
    assert connections_of(own_redis) <= 7


@pytest.mark.parametrize("max_connections", [1, 3])
def test_a_call_cancelled_anywhere_leaves_no_answer_to_the_next(
    own_redis: RedisServer, connect: Connect, max_connections: int
) -> None:
    async def ask() -> None:
        driver = connect(own_redis, max_connections=max_connections)
        mine, other = make_record(payload=b"mine"), make_record(payload=b"other")
        await base.arun(driver.add("mine", mine))
        await base.arun(driver.add("other", other))
        for turns in range(40):
            # At first use too: in the middle of the handshake.
            if turns % 2:
                await driver.aclose()
            tasks = [asyncio.create_task(base.arun(driver.get("other"))) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            assert (
                await asyncio.gather(*(base.arun(driver.get("mine")) for _ in range(4)))
                == [mine] * 4
            )
            for answer in await asyncio.gather(*tasks, return_exceptions=True):
                assert answer == other or isinstance(answer, asyncio.CancelledError)
        assert connections_of(own_redis) <= max_connections

    asyncio.run(ask())


def test_a_call_cancelled_while_the_server_hangs_leaves_no_answer_to_the_next(
    own_redis: RedisServer, connect: Connect
) -> None:
    async def ask() -> None:
        driver = connect(own_redis, max_connections=2, socket_timeout=20)
        mine, other = make_record(payload=b"mine"), make_record(payload=b"other")
        await base.arun(driver.add("mine", mine))
        await base.arun(driver.add("other", other))
        own_redis.pause()
        tasks = [asyncio.create_task(base.arun(driver.get("other"))) for _ in range(5)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        own_redis.resume()
        for _ in range(20):
            assert (
                await asyncio.gather(*(base.arun(driver.get("mine")) for _ in range(3)))
                == [mine] * 3
            )

    asyncio.run(ask())


def test_a_driver_stays_usable_after_close(
    run: Run | None, own_redis: RedisServer, connect: Connect
) -> None:
    verbs, record = DriverVerbs(connect(own_redis), run), make_record()
    verbs.add("key", record)
    verbs.close()
    within_deadline(lambda: connections_of(own_redis) == 0)
    assert verbs.get("key") == record


def test_a_loop_that_ends_leaves_no_connection_open(
    own_redis: RedisServer, connect: Connect
) -> None:
    driver = connect(own_redis)
    for _ in range(50):
        asyncio.run(base.arun(driver.get("key")))
    gc.collect()
    within_deadline(lambda: connections_of(own_redis) == 0)


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(
    newest_redis: RedisServer, connect: Connect
) -> None:
    driver, mine, other = connect(newest_redis), make_record(), make_record(payload=b"other")
    base.run(driver.add("mine", mine))
    base.run(driver.add("other", other))
    with asyncio.Runner() as runner:
        assert runner.run(base.arun(driver.get("mine"))) == mine
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                right = all(base.run(driver.get("other")) == other for _ in range(50))
                # A task of the forked loop would run in the parent's selector: the child has its own.
                asyncio._set_running_loop(None)
                right = right and asyncio.run(base.arun(driver.get("other"))) == other
                status = 0 if right else 1
            os._exit(status)
        assert all(base.run(driver.get("mine")) == mine for _ in range(50))
        assert all(runner.run(base.arun(driver.get("mine"))) == mine for _ in range(50))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(base.arun(driver.get("mine"))) == mine
