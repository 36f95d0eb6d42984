"""A command in, a reply out: scripts by digest, one retry, and what kind of outage an error is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import RedisServer as Redis

from django_multisession.drivers.redis import scripts as redis_scripts
from django_multisession.drivers.redis.protocol import NO_RECORD
from django_multisession.exceptions import OutageKind, StoreUnavailable
from tests.drivers.redis_fixtures import configure, connections_of, own_redis, within_deadline
from tests.drivers.redis_proxy import RedisProxy
from tests.drivers.redis_scripted import ScriptedServer
from tests.drivers.redis_sending import Open, open_server, outage
from tests.faults.redis_site import LoadingRedis
from tests.unit.frames import shown

__all__ = ["open_server", "own_redis"]

WITHDRAW = ("EVALSHA", redis_scripts.WITHDRAW, 1)


def test_a_script_that_the_server_forgot_is_told_once(own_redis: Redis, open_server: Open) -> None:
    with RedisProxy(own_redis.port) as proxy:
        server = open_server(proxy)
        for number in range(3):
            if number != 1:
                configure(own_redis, "SCRIPT", "FLUSH")
            assert server.send((*WITHDRAW, f"key-{number}", b"\xff\0")) == 1
        assert proxy.commands == ["EVALSHA", "EVAL", "EVALSHA", "EVALSHA", "EVAL"]


def test_an_unknown_digest_is_refused(newest_redis: Redis, open_server: Open) -> None:
    error = outage(open_server(newest_redis), "EVALSHA", "0" * 40, 0)
    assert (error.kind, "NOSCRIPT" in str(error)) == (OutageKind.REFUSED, True)


@pytest.mark.parametrize("version", ["6.2", "7.0", "8.2"])
def test_what_is_no_string_is_no_record(
    running_servers: Any, open_server: Open, version: str
) -> None:
    server = open_server(running_servers.redis(f"redis-{version}"))
    name = f"list-{os.urandom(8).hex()}"
    server.send(("RPUSH", name, "text"))
    assert server.send(("GET", name)) == NO_RECORD
    for script in (redis_scripts.REPLACE, redis_scripts.TOUCH):
        assert server.send(("EVALSHA", script, 1, name, "r", 0, 0, 0)) == NO_RECORD
    server.send(("DEL", name))


def test_one_lost_connection_costs_one_more_try_and_two_are_an_outage(
    newest_redis: Redis, open_server: Open
) -> None:
    with RedisProxy(newest_redis.port) as proxy:
        server = open_server(proxy)
        assert server.send(("PING",)) == b"PONG"
        for lost in (1, 2):
            proxy.forget()
            proxy.answers_to_lose = lost
            if lost == 1:
                assert server.send(("PING",)) == b"PONG"
            else:
                assert outage(server, "PING").kind is OutageKind.UNREACHABLE
            assert proxy.commands == ["PING", "PING"]
        assert server.send(("PING",)) == b"PONG"


def test_connections_that_an_administrator_kills_cost_nothing_but_the_retry(
    own_redis: Redis, open_server: Open
) -> None:
    server = open_server(own_redis)
    for number in range(10):
        assert server.send(("ECHO", number)) == str(number).encode()
        configure(own_redis, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_timeout_is_not_asked_again_and_a_retry_has_what_is_left_of_the_time(
    open_server: Open,
) -> None:
    hangs_up = [True]

    def talk(taken: socket.socket) -> None:
        taken.recv(1000)
        server.ended.wait(2)
        if hangs_up:
            hangs_up.pop()
            taken.close()

    with ScriptedServer(talk) as server:
        asking = open_server(server, socket_timeout=2.5)
        began = time.monotonic()
        assert outage(asking, "PING").kind is OutageKind.TIMED_OUT
        # Another whole timeout would make it four seconds and a half.
        assert 2.4 < time.monotonic() - began < 4.4
        assert server.connections == 2
        assert outage(asking, "PING").kind is OutageKind.TIMED_OUT
        assert server.connections == 3


def _no_permission(server: Redis) -> dict[str, Any]:
    configure(server, "ACL", "SETUSER", "weak", "on", ">weak-pass", "~*", "+ping")
    return {"username": "weak", "password": "weak-pass"}


def _no_login(server: Redis) -> dict[str, Any]:
    configure(server, "CONFIG", "SET", "requirepass", "right-secret")
    return {}


def _wrong_password(server: Redis) -> dict[str, Any]:
    return {"username": "nobody", "password": "wrong-secret"}


def _full(server: Redis) -> dict[str, Any]:
    configure(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    configure(server, "CONFIG", "SET", "maxmemory", "1")
    return {}


def _cannot_save(server: Redis) -> dict[str, Any]:
    # Its file cannot be written where there is a directory.
    (server.directory / "dump.rdb").mkdir()
    (server.directory / "dump.rdb" / "file").touch()
    configure(server, "CONFIG", "SET", "save", "1 1")
    configure(server, "SET", "key", "value")
    with contextlib.suppress(redis.ResponseError):
        configure(server, "BGSAVE")

    def has_failed() -> bool:
        with redis.Redis.from_url(server.url) as client:
            return bool(client.info("persistence")["rdb_last_bgsave_status"] == "err")

    within_deadline(has_failed)
    return {}


def _replica(server: Redis) -> dict[str, Any]:
    configure(server, "REPLICAOF", "127.0.0.1", 1)
    return {}


def _no_database(server: Redis) -> dict[str, Any]:
    return {"db": 99}


def _no_replicas(server: Redis) -> dict[str, Any]:
    configure(server, "CONFIG", "SET", "min-replicas-to-write", "1")
    return {}


def _masterless(server: Redis) -> dict[str, Any]:
    configure(server, "CONFIG", "SET", "replica-serve-stale-data", "no")
    configure(server, "REPLICAOF", "127.0.0.1", 1)
    return {}


REFUSING: list[tuple[Callable[[Redis], dict[str, Any]], str, OutageKind]] = [
    (_no_permission, "NOPERM", OutageKind.REFUSED),
    (_no_login, "NOAUTH", OutageKind.REFUSED),
    (_wrong_password, "WRONGPASS", OutageKind.REFUSED),
    (_full, "OOM", OutageKind.REFUSED),
    (_cannot_save, "MISCONF", OutageKind.REFUSED),
    (_replica, "READONLY", OutageKind.REFUSED),
    (_no_database, "ERR", OutageKind.REFUSED),
    (_no_replicas, "NOREPLICAS", OutageKind.REFUSED),
    (_masterless, "MASTERDOWN", OutageKind.UNREACHABLE),
]


@pytest.mark.parametrize(("refuse", "code", "kind"), REFUSING, ids=[each[1] for each in REFUSING])
def test_what_a_server_refuses_is_told_by_its_code_and_asked_once(
    own_redis: Redis, open_server: Open, refuse: Any, code: str, kind: OutageKind
) -> None:
    options = refuse(own_redis)
    with RedisProxy(own_redis.port) as proxy:
        server = open_server(proxy, **options)
        # Without a master it is reads that are refused for that reason.
        asked = ("HGETALL",) if code == "MASTERDOWN" else ("HSET", "key", "field")
        error = outage(server, *asked)
        assert error.kind is kind
        assert f"({code})" in str(error)
        assert "secret" not in shown(error)
        assert proxy.commands.count(asked[0]) <= 1
    # It could not save its data, and would not stop.
    own_redis.kill()


def test_more_clients_than_the_server_takes_are_an_overload(
    own_redis: Redis, open_server: Open
) -> None:
    configure(own_redis, "CONFIG", "SET", "maxclients", "1")
    server = open_server(own_redis)
    assert server.send(("PING",)) == b"PONG"
    for options in ({}, {"client_name": "named"}, {"db": 1}):
        other = open_server(own_redis, **options)
        for _ in range(2):
            assert outage(other, "ECHO").kind is OutageKind.OVERLOADED
    assert server.send(("CONFIG", "SET", "maxclients", "100")) == b"OK"
    assert other.send(("ECHO", "after")) == b"after"


def test_a_server_that_loads_its_data_is_out_of_reach(
    newest_redis: Redis, tmp_path: Path, open_server: Open
) -> None:
    options = ("--key-load-delay", "200000", "--loading-process-events-interval-bytes", "1024")
    with LoadingRedis(newest_redis.binary, tmp_path / "redis", *options) as loading:
        with redis.Redis(port=loading.port) as client:
            for number in range(15):
                client.set(f"key-{number}", os.urandom(2000))
            client.save()
        loading.kill()
        loading.start()
        server = open_server(loading)
        error = outage(server, "HGETALL")
        assert (error.kind, "LOADING" in str(error)) == (OutageKind.UNREACHABLE, True)


def test_where_nothing_listens_it_is_out_of_reach(open_server: Open) -> None:
    @dataclasses.dataclass(frozen=True)
    class Nowhere:
        url: str

    for url in (
        "redis://127.0.0.1:1/0",
        "unix:///nowhere/redis.sock",
        "redis://nowhere.invalid/0",
    ):
        assert outage(open_server(Nowhere(url)), "PING").kind is OutageKind.UNREACHABLE


def test_a_login_a_database_and_a_name_are_told_at_connecting(
    own_redis: Redis, open_server: Open
) -> None:
    configure(own_redis, "ACL", "SETUSER", "shop", "on", ">p@ss word", "~*", "+@all")
    server = open_server(
        own_redis, username="shop", password="p@ss word", db=3, client_name="django"
    )
    assert server.send(("ACL", "WHOAMI")) == b"shop"
    assert server.send(("CLIENT", "GETNAME")) == b"django"
    assert b" db=3 " in server.send(("CLIENT", "LIST"))


def test_a_provider_of_credentials_is_asked_for_each_connection(
    own_redis: Redis, open_server: Open
) -> None:
    class Provider(redis.CredentialProvider):
        asked = 0

        def get_credentials(self) -> tuple[str, str]:
            self.asked += 1
            return "shop", f"token-{self.asked}"

    configure(own_redis, "ACL", "SETUSER", "shop", "on", ">token-1", ">token-2", "~*", "+@all")
    server = open_server(own_redis, credential_provider=(provider := Provider()))
    for number in (1, 2):
        assert server.send(("ACL", "WHOAMI")) == b"shop"
        assert server.send(("PING",)) == b"PONG"
        assert provider.asked == number
        server.close()


def test_a_unix_socket_is_spoken_to(newest_redis: Redis, tmp_path: Path, open_server: Open) -> None:
    with (
        # A path of pytest's may be longer than a socket's.
        tempfile.TemporaryDirectory() as short,
        Redis(newest_redis.binary, tmp_path / "redis", "--unixsocket", path := f"{short}/s") as own,
    ):
        own_url = dataclasses.make_dataclass("Path", ["url"])(f"unix://{path}?db=2")
        server = open_server(own_url, socket_timeout=0.3)
        value = os.urandom(1_000_000)
        assert server.send(("ECHO", value)) == value
        with pytest.raises(StoreUnavailable) as caught:
            server.send(("BLPOP", "nothing", 0))
        assert caught.value.kind is OutageKind.TIMED_OUT
        own.restart()
        assert server.send(("ECHO", "again")) == b"again"


def test_closing_leaves_no_connection_and_it_stays_usable(
    own_redis: Redis, open_server: Open
) -> None:
    server = open_server(own_redis)
    for _ in range(2):
        assert server.send(("PING",)) == b"PONG"
        assert connections_of(own_redis) == 1
        server.close()
        within_deadline(lambda: connections_of(own_redis) == 0)
