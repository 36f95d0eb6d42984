"""What the Redis driver does when Redis cannot answer, and when many ask at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading

import pytest
from servers import RedisServer

from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.driver_fixtures import (
    NOW,
    left_by,
    make_end,
    make_record,
    next_write,
)
from tests.drivers.redis_fixtures import (
    Connect,
    Verb,
    call,
    configure,
    connect,
    connections_of,
    own_redis,
    within_deadline,
)
from tests.drivers.redis_proxy import RedisProxy

__all__ = ["call", "connect", "own_redis"]


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
            (driver.delete, "key", make_end()),
        ):
            with pytest.raises(StoreUnavailable, match=r"^Redis did not answer \(ConnectionErr"):
                call(verb, *arguments)
        own_redis.start()
        assert call(driver.get, "key") is None
        assert call(driver.add, "key", record)


def test_dead_connections_of_a_full_pool_do_not_reach_a_request(
    own_redis: RedisServer, connect: Connect
) -> None:
    async def fill_and_restart() -> None:
        driver = connect(own_redis, max_connections=20)
        await asyncio.gather(*(driver.aget("key") for _ in range(100)))
        assert connections_of(own_redis) == 20
        own_redis.restart()
        for _ in range(3):
            await asyncio.gather(*(driver.aget("key") for _ in range(100)))
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
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            call(driver.touch, "key", record, NOW, NOW)
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
        with pytest.raises(StoreUnavailable, match=r"^Redis did not answer \(TimeoutError\)\.$"):
            call(driver.add, "key", record)
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
    with pytest.raises(StoreUnavailable, match="AuthenticationError") as caught:
        call(driver.get, "key")
    warning = driver.check()[0]
    assert warning.id == "multisession.W101"
    assert "secret" not in f"{caught.value} {warning} {driver!r} {driver._connections!r}"
    assert call(connect(own_redis, password="right-secret").get, "key") is None


def test_a_read_only_replica_is_unavailable(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    driver, record = connect(own_redis), make_record()
    call(driver.add, "key", record)
    configure(own_redis, "REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match="ReadOnlyError"):
        call(driver.replace, "key", next_write(record), record, NOW)


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
    ):
        with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
            call(verb, *arguments)
    assert call(driver.get, "key") == record
    assert call(driver.get, "new") is None
    # A logout goes through.
    assert call(driver.delete, "key", make_end())


def test_a_pool_without_a_free_connection_is_unavailable(
    newest_redis: RedisServer, connect: Connect
) -> None:
    driver = connect(newest_redis, max_connections=1, timeout=0.1)
    pool = driver._client.connection_pool
    taken = pool.pool.get_nowait()
    with pytest.raises(StoreUnavailable):
        driver.get("key")
    pool.pool.put_nowait(taken)
    assert driver.get("key") is None


def test_an_async_pool_without_a_free_connection_is_unavailable(
    own_redis: RedisServer, connect: Connect
) -> None:
    async def ask() -> None:
        driver = connect(own_redis, max_connections=1, timeout=0.1, socket_timeout=20)
        await driver.aget("key")
        own_redis.pause()
        hanging = asyncio.create_task(driver.aget("key"))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await driver.aget("key")
        own_redis.resume()
        assert await hanging is None
        assert await driver.aget("key") is None

    asyncio.run(ask())


def test_a_hundred_coroutines_share_the_connections_of_the_pool(
    own_redis: RedisServer, connect: Connect
) -> None:
    async def ask() -> None:
        driver = connect(own_redis, max_connections=7)
        records = {str(number): make_record() for number in range(100)}
        added = await asyncio.gather(*(driver.aadd(key, records[key]) for key in records))
        assert all(added)
        found = await asyncio.gather(*(driver.aget(key) for key in records))
        assert found == list(records.values())
        assert connections_of(own_redis) <= 7

    asyncio.run(ask())
    within_deadline(lambda: connections_of(own_redis) == 0)


def test_a_hundred_threads_share_the_connections_of_the_pool(
    own_redis: RedisServer, connect: Connect
) -> None:
    driver, record, found = connect(own_redis, max_connections=7), make_record(), []
    driver.add("key", record)
    threads = [threading.Thread(target=lambda: found.append(driver.get("key"))) for _ in range(100)]
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
        await driver.aadd("mine", mine)
        await driver.aadd("other", other)
        for turns in range(40):
            # At first use too: in the middle of the handshake.
            if turns % 2:
                await driver.aclose()
            tasks = [asyncio.create_task(driver.aget("other")) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            assert await asyncio.gather(*(driver.aget("mine") for _ in range(4))) == [mine] * 4
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
        await driver.aadd("mine", mine)
        await driver.aadd("other", other)
        own_redis.pause()
        tasks = [asyncio.create_task(driver.aget("other")) for _ in range(5)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        own_redis.resume()
        for _ in range(20):
            assert await asyncio.gather(*(driver.aget("mine") for _ in range(3))) == [mine] * 3

    asyncio.run(ask())


def test_a_driver_stays_usable_after_close(
    call: Verb, own_redis: RedisServer, connect: Connect
) -> None:
    driver, record = connect(own_redis), make_record()
    call(driver.add, "key", record)
    call(driver.close)
    within_deadline(lambda: connections_of(own_redis) == 0)
    assert call(driver.get, "key") == record


def test_a_loop_that_ends_leaves_no_connection_open(
    own_redis: RedisServer, connect: Connect
) -> None:
    driver = connect(own_redis)
    for _ in range(50):
        asyncio.run(driver.aget("key"))
    gc.collect()
    within_deadline(lambda: connections_of(own_redis) == 0)


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(
    newest_redis: RedisServer, connect: Connect
) -> None:
    driver, mine, other = connect(newest_redis), make_record(), make_record(payload=b"other")
    driver.add("mine", mine)
    driver.add("other", other)
    with asyncio.Runner() as runner:
        assert runner.run(driver.aget("mine")) == mine
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                right = all(driver.get("other") == other for _ in range(50))
                # A task of the forked loop would run in the parent's selector: the child has its own.
                asyncio._set_running_loop(None)
                right = right and asyncio.run(driver.aget("other")) == other
                status = 0 if right else 1
            os._exit(status)
        assert all(driver.get("mine") == mine for _ in range(50))
        assert all(runner.run(driver.aget("mine")) == mine for _ in range(50))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(driver.aget("mine")) == mine
