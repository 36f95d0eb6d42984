from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
import redis.asyncio
from pymongo.errors import AutoReconnect
from redis.backoff import NoBackoff
from redis.retry import Retry
from servers import MongoServer, RedisServer

from django_multisession.testing.rows import for_each
from tests.proxy import TCPProxy

OP_COMPRESSED = 2012
Mongo = pymongo.MongoClient[dict[str, Any]]


@pytest.fixture
def redis_proxy(newest_redis: RedisServer) -> Iterator[TCPProxy]:
    with TCPProxy(newest_redis.host, newest_redis.port) as proxy:
        yield proxy


@pytest.fixture
def client(redis_proxy: TCPProxy, direct: redis.Redis) -> Iterator[redis.Redis]:
    with redis_client(redis_proxy) as client:
        yield client


@pytest.fixture
def direct(newest_redis: RedisServer) -> Iterator[redis.Redis]:
    """A client that does not pass the proxy, over an empty database."""
    with redis.Redis(port=newest_redis.port, db=9) as direct:
        direct.flushdb()
        yield direct
        direct.flushdb()


@pytest.fixture
def mongodb_proxy(mongodb_standalone: MongoServer) -> Iterator[TCPProxy]:
    with TCPProxy(mongodb_standalone.host, mongodb_standalone.port) as proxy:
        yield proxy


@pytest.fixture
def mongo(mongodb_proxy: TCPProxy) -> Iterator[Mongo]:
    with Mongo(mongodb_proxy.host, mongodb_proxy.port, directConnection=True) as it:
        yield it
        it.drop_database("proxy")


def redis_client(proxy: TCPProxy, **options: Any) -> redis.Redis:
    defaults = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 10, "db": 9}
    return redis.Redis(port=proxy.port, **{**defaults, **options})


@contextlib.asynccontextmanager
async def async_redis(proxy: TCPProxy, **options: Any) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis(port=proxy.port, db=9, **options)
    try:
        yield client
    finally:
        await client.aclose()


def resp(*commands: str) -> bytes:
    """Encode commands as a client does."""
    words = [command.encode().split() for command in commands]
    return b"".join(
        b"*%d\r\n" % len(of) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in of)
        for of in words
    )


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it must happen within 60 s"
        time.sleep(0.01)


def test_a_redis_command_is_one_round_trip(redis_proxy: TCPProxy, client: redis.Redis) -> None:
    client.get("name")
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["GET"], 1)


def test_an_async_redis_command_is_one_round_trip(redis_proxy: TCPProxy) -> None:
    async def get() -> None:
        async with async_redis(redis_proxy) as client:
            await client.get("name")

    asyncio.run(get())
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["GET"], 1)


def test_commands_one_after_the_other_are_a_round_trip_each(
    redis_proxy: TCPProxy, client: redis.Redis
) -> None:
    client.set("name", "value")
    client.get("name")
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["SET", "GET"], 2)


def test_a_redis_pipeline_is_one_round_trip(redis_proxy: TCPProxy, client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        pipeline.set("name", "value")
        pipeline.get("name")
        pipeline.delete("name")
        pipeline.execute()
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["SET", "GET", "DEL"], 1)


def test_a_redis_transaction_is_one_round_trip(redis_proxy: TCPProxy, client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("name", "value")
        pipeline.get("name")
        pipeline.execute()
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["MULTI", "SET", "GET", "EXEC"], 1)


def test_a_redis_script_by_its_digest_is_one_round_trip(
    redis_proxy: TCPProxy, client: redis.Redis, direct: redis.Redis
) -> None:
    digest = direct.script_load("return redis.call('SET', KEYS[1], ARGV[1])")
    client.evalsha(digest, 1, "name", "x" * 50_000)
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["EVALSHA"], 1)


def test_setting_up_a_redis_connection_is_not_counted(redis_proxy: TCPProxy) -> None:
    with redis_client(redis_proxy, client_name="law", protocol=3) as client:
        client.ping()
    assert (redis_proxy.commands, redis_proxy.round_trips) == ([], 0)


def test_asking_for_information_is_counted(redis_proxy: TCPProxy, client: redis.Redis) -> None:
    client.info()
    assert redis_proxy.commands == ["INFO"]


def test_every_byte_to_redis_is_counted(redis_proxy: TCPProxy) -> None:
    command = resp("GET none")
    with socket.create_connection((redis_proxy.host, redis_proxy.port)) as connection:
        connection.sendall(command)
        assert connection.recv(100) == b"$-1\r\n"
    assert redis_proxy.bytes_to_server == len(command)


def test_a_command_that_arrives_in_pieces_is_one_command(redis_proxy: TCPProxy) -> None:
    with socket.create_connection((redis_proxy.host, redis_proxy.port)) as connection:
        for byte in resp("GET none"):
            connection.sendall(bytes([byte]))
        assert connection.recv(100) == b"$-1\r\n"
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["GET"], 1)


def test_a_burst_whose_beginning_is_answered_early_is_one_round_trip(redis_proxy: TCPProxy) -> None:
    get = resp("GET none")
    with socket.create_connection((redis_proxy.host, redis_proxy.port)) as connection:
        connection.sendall(get + get[:10])
        assert connection.recv(100) == b"$-1\r\n"
        connection.sendall(get[10:])
        assert connection.recv(100) == b"$-1\r\n"
    assert (redis_proxy.commands, redis_proxy.round_trips) == (["GET", "GET"], 1)


@for_each(
    ("script", "answer"),
    [
        ("return {1, {2, 'a\\r\\nb', {}}, false, ''}", [1, [2, b"a\r\nb", []], False, b""]),
        ("return {map={name={map={}}}}", {b"name": {}}),
        ("return {double=2.5}", 2.5),
        ("return {set={one=true}}", [b"one"]),
        ("return {big_number='12345678901234567890'}", 12345678901234567890),
        ("return {verbatim_string={format='txt', string='a\\r\\nb'}}", b"a\r\nb"),
        ("return nil", None),
    ],
)
def test_every_kind_of_redis_answer_passes(
    redis_proxy: TCPProxy, script: str, answer: object
) -> None:
    redis_proxy.reset()
    with redis_client(redis_proxy, protocol=3) as client:
        found = client.eval(f"redis.setresp(3); {script}", 0)
        assert client.echo("next") == b"next"
    if isinstance(found, set):
        found = list(found)
    if isinstance(answer, int) and isinstance(found, bytes):
        # How hiredis, which redis-py uses where it is installed, gives a big number.
        found = int(found)
    assert found == answer
    assert redis_proxy.round_trips == 2


def test_messages_that_redis_pushes_answer_no_command(
    redis_proxy: TCPProxy, direct: redis.Redis
) -> None:
    address = (redis_proxy.host, redis_proxy.port)
    with socket.create_connection(address) as connection, connection.makefile("rb") as answers:
        connection.sendall(resp("HELLO 3", "SELECT 9", "CLIENT TRACKING ON", "GET name"))
        while answers.readline() != b"_\r\n":
            pass
        redis_proxy.cut_next_answer("blpop")
        connection.sendall(resp("BLPOP list 0"))
        until(lambda: "BLPOP" in redis_proxy.commands)
        direct.set("name", "value")
        assert answers.readline() == b">2\r\n"
        direct.rpush("list", "value")
        assert answers.read().endswith(b"\r\nname\r\n")
    assert direct.llen("list") == 0


def test_concurrent_clients_are_all_counted(redis_proxy: TCPProxy) -> None:
    def ask(_: int) -> None:
        with redis_client(redis_proxy) as client:
            for _ in range(20):
                client.get("name")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert (len(redis_proxy.commands), redis_proxy.round_trips) == (160, 160)
    assert redis_proxy.total_connections == 8


def test_open_connections_are_counted(redis_proxy: TCPProxy) -> None:
    with redis_client(redis_proxy) as one, redis_client(redis_proxy) as two:
        one.get("name")
        two.get("name")
        assert redis_proxy.connections == 2
    assert (redis_proxy.connections, redis_proxy.total_connections) == (0, 2)


def test_reset_counts_from_zero(redis_proxy: TCPProxy, client: redis.Redis) -> None:
    client.get("name")
    redis_proxy.reset()
    assert (redis_proxy.commands, redis_proxy.round_trips) == ([], 0)
    assert (redis_proxy.bytes_to_server, redis_proxy.total_connections) == (0, 0)
    client.get("name")
    assert redis_proxy.round_trips == 1


def test_a_mongodb_query_is_one_round_trip(mongodb_proxy: TCPProxy, mongo: Mongo) -> None:
    mongo.proxy.things.find_one({})
    assert (mongodb_proxy.commands, mongodb_proxy.round_trips) == (["find"], 1)


def test_an_async_mongodb_query_is_one_round_trip(mongodb_proxy: TCPProxy) -> None:
    async def find() -> None:
        address = (mongodb_proxy.host, mongodb_proxy.port)
        async with pymongo.AsyncMongoClient[dict[str, Any]](*address, directConnection=True) as it:
            await it.proxy.things.find_one({})

    asyncio.run(find())
    assert mongodb_proxy.commands.count("find") == mongodb_proxy.round_trips == 1


def test_a_mongodb_bulk_write_is_one_round_trip(mongodb_proxy: TCPProxy, mongo: Mongo) -> None:
    updates = [pymongo.UpdateOne({"_id": n}, {"$set": {"n": n}}, upsert=True) for n in range(2)]
    mongo.proxy.things.bulk_write(updates)
    assert (mongodb_proxy.commands, mongodb_proxy.round_trips) == (["update"], 1)


def test_making_an_index_is_seen_by_its_name(mongodb_proxy: TCPProxy, mongo: Mongo) -> None:
    mongo.proxy.things.create_index("n")
    assert mongodb_proxy.commands == ["createIndexes"]


def test_watching_a_mongodb_is_not_counted(mongodb_proxy: TCPProxy, mongo: Mongo) -> None:
    mongo.admin.command("hello")
    assert (mongodb_proxy.commands, mongodb_proxy.bytes_to_server) == ([], 0)


def test_a_mongodb_write_that_nobody_waits_for_is_no_round_trip(
    mongodb_proxy: TCPProxy, mongo: Mongo
) -> None:
    things = mongo.proxy.things
    things.with_options(write_concern=pymongo.WriteConcern(w=0)).insert_one({})
    things.find_one({})
    things.find_one({})
    assert (mongodb_proxy.commands, mongodb_proxy.round_trips) == (["insert", "find", "find"], 2)


def test_what_it_cannot_read_is_reported_at_the_end(newest_redis: RedisServer) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(TCPProxy(newest_redis.host, newest_redis.port))
        with socket.create_connection((proxy.host, proxy.port)) as connection:
            connection.sendall(struct.pack("<4i", 16, 1, 0, OP_COMPRESSED))
            assert connection.recv(1) == b""
        leave = stack.pop_all()
    with pytest.raises(ValueError, match="not compressed"):
        leave.close()


def test_a_write_whose_answer_is_cut_is_done(
    redis_proxy: TCPProxy, client: redis.Redis, direct: redis.Redis
) -> None:
    redis_proxy.cut_next_answer()
    with pytest.raises(redis.ConnectionError):
        client.set("name", "value")
    assert direct.get("name") == b"value"


def test_an_async_write_whose_answer_is_cut_is_done(
    redis_proxy: TCPProxy, direct: redis.Redis
) -> None:
    async def write() -> None:
        async with async_redis(redis_proxy, retry=redis.asyncio.retry.Retry(NoBackoff(), 0)) as it:
            with pytest.raises(redis.ConnectionError):
                await it.set("name", "value")

    redis_proxy.cut_next_answer()
    asyncio.run(write())
    assert direct.get("name") == b"value"


def test_a_mongodb_write_whose_answer_is_cut_is_done(
    mongodb_proxy: TCPProxy, mongo: Mongo, mongodb_standalone: MongoServer
) -> None:
    mongodb_proxy.cut_next_answer("update")
    with pytest.raises(AutoReconnect):
        mongo.proxy.things.update_one({"_id": 1}, {"$set": {"n": 7}}, upsert=True)
    with Mongo(mongodb_standalone.url) as direct:
        assert direct.proxy.things.find_one({"_id": 1}) == {"_id": 1, "n": 7}


def test_only_the_named_command_loses_its_answer(
    redis_proxy: TCPProxy, client: redis.Redis
) -> None:
    redis_proxy.cut_next_answer("set")
    assert client.get("name") is None
    with pytest.raises(redis.ConnectionError):
        client.set("name", "value")


def test_only_one_answer_is_cut(redis_proxy: TCPProxy, direct: redis.Redis) -> None:
    redis_proxy.cut_next_answer("incrby")
    with redis_client(redis_proxy, retry=Retry(NoBackoff(), 1)) as client:
        assert client.incr("count") == 2
    assert redis_proxy.commands == ["INCRBY", "INCRBY"]


def test_a_cut_leaves_other_connections_open(redis_proxy: TCPProxy, client: redis.Redis) -> None:
    with redis_client(redis_proxy) as other:
        other.get("name")
        redis_proxy.cut_next_answer()
        with pytest.raises(redis.ConnectionError):
            client.get("name")
        assert redis_proxy.connections == 1
        other.get("name")
        assert redis_proxy.total_connections == 2


def test_answers_before_the_cut_one_are_delivered(
    redis_proxy: TCPProxy, direct: redis.Redis
) -> None:
    redis_proxy.cut_next_answer("incr")
    with socket.create_connection((redis_proxy.host, redis_proxy.port)) as connection:
        connection.sendall(resp("SELECT 9", "INCR count"))
        with connection.makefile("rb") as answers:
            assert answers.read() == b"+OK\r\n"
    assert direct.get("count") == b"1"


def test_a_client_of_a_hanging_server_times_out(redis_proxy: TCPProxy) -> None:
    redis_proxy.hang()
    with (
        redis_client(redis_proxy, socket_timeout=0.1) as client,
        pytest.raises(redis.TimeoutError),
    ):
        client.get("name")


def test_an_async_client_of_a_hanging_server_times_out(redis_proxy: TCPProxy) -> None:
    async def get() -> None:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        async with async_redis(redis_proxy, retry=retry, socket_timeout=0.1) as client:
            with pytest.raises(redis.TimeoutError):
                await client.get("name")

    redis_proxy.hang()
    asyncio.run(get())


def test_a_client_of_a_hanging_mongodb_times_out(mongodb_proxy: TCPProxy, mongo: Mongo) -> None:
    mongo.proxy.things.find_one({})
    mongodb_proxy.hang()
    with pytest.raises(AutoReconnect), pymongo.timeout(0.2):
        mongo.proxy.things.find_one({})
    mongodb_proxy.resume()
    assert mongo.proxy.things.find_one({}) is None


def test_what_a_hanging_server_was_sent_is_never_done(
    redis_proxy: TCPProxy, client: redis.Redis, direct: redis.Redis
) -> None:
    client.get("name")
    redis_proxy.hang()
    with redis_client(redis_proxy, socket_timeout=0.1) as other:
        with pytest.raises(redis.TimeoutError):
            other.set("name", "value")
        redis_proxy.resume()
        assert other.get("name") is None
    assert direct.get("name") is None


def test_a_connection_that_lost_something_ends_with_the_hang(redis_proxy: TCPProxy) -> None:
    with socket.create_connection((redis_proxy.host, redis_proxy.port)) as connection:
        redis_proxy.hang()
        connection.sendall(resp("GET none"))
        assert redis_proxy.connections == 1
        redis_proxy.resume()
        assert connection.recv(1) == b""
    assert redis_proxy.commands == []


def test_a_connection_that_lost_nothing_outlives_a_hang(
    redis_proxy: TCPProxy, client: redis.Redis
) -> None:
    client.get("name")
    redis_proxy.hang()
    redis_proxy.resume()
    client.get("name")
    assert redis_proxy.total_connections == 1


def test_a_refusing_server_closes_and_refuses_connections(
    redis_proxy: TCPProxy, client: redis.Redis
) -> None:
    client.get("name")
    redis_proxy.refuse()
    assert redis_proxy.connections == 0
    with pytest.raises(redis.ConnectionError):
        client.get("name")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((redis_proxy.host, redis_proxy.port)).close()


def test_a_server_that_accepts_again_is_found_where_it_was(
    redis_proxy: TCPProxy, client: redis.Redis
) -> None:
    redis_proxy.refuse()
    redis_proxy.accept()
    assert client.get("name") is None


def test_behind_the_proxy_a_dead_server_closes_connections(
    newest_redis: RedisServer, tmp_path: Path
) -> None:
    with (
        RedisServer(newest_redis.binary, tmp_path) as server,
        TCPProxy(server.host, server.port) as proxy,
        redis_client(proxy) as client,
    ):
        client.get("name")
        server.kill()
        for _ in ("the open connection", "a new one"):
            with pytest.raises(redis.ConnectionError):
                client.get("name")
        server.start()
        assert client.get("name") is None


def test_leaving_closes_every_connection(newest_redis: RedisServer) -> None:
    with TCPProxy(newest_redis.host, newest_redis.port) as proxy:
        connection = socket.create_connection((proxy.host, proxy.port))
    with connection:
        assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, proxy.port)).close()
