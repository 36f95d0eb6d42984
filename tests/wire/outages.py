"""Ways in which a session server fails its clients, each as a block in which it does."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymongo
import redis
from servers import (
    MariaDBServer,
    MemcachedServer,
    MongoReplicaSet,
    MongoServer,
    PostgreSQLServer,
    RedisServer,
    Server,
)

from tests.conftest import Running
from tests.faults.redis_site import LoadingRedis
from tests.proxy import TCPProxy

DATABASE = "multisession_tests"
PASSWORD = "the right one"
DEADLINE_SECONDS = 60
#: Whose clients are Django's connections.
DATABASES = ("postgresql", "mariadb")

Admin = pymongo.MongoClient[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A server that may be harmed, and the proxy that leads to it."""

    server: Server
    proxy: TCPProxy


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One way to fail.

    Attributes:
        kind: Of server: ``"redis"``, ``"mongodb"``, ``"replica_set"``, ``"memcached"``,
            ``"postgresql"`` or ``"mariadb"``.
        begin: Lasts as long as the block it opens.
        can_read: Does the server still read?
        can_end: Does it still end sessions?
        is_waited_for: Does a request find out by waiting?
    """

    kind: str
    begin: Callable[[Place], AbstractContextManager[None]]
    can_read: bool = False
    can_end: bool = False
    is_waited_for: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{self.begin.__name__}"


class OwnServers:
    """Servers of this directory's tests alone: with data that outlives a stop, and with passwords.

    Each starts when a test first asks, and all stop at the end.
    """

    def __init__(self, running: Running, directory: Path, stack: ExitStack) -> None:
        self._running = running
        self._directory = directory
        self._stack = stack
        self._started: dict[str, Server] = {}

    def get(self, kind: str) -> Server:
        """Return the server of *kind*."""
        if kind not in self._started:
            start = {
                "redis": self._start_redis,
                "mongodb": self._start_mongodb,
                "replica_set": self._start_replica_set,
                "memcached": self._start_memcached,
                "postgresql": self._start_postgresql,
                "mariadb": self._start_mariadb,
            }[kind]
            self._started[kind] = start(self._directory / kind)
        return self._started[kind]

    def _start_redis(self, place: Path) -> Server:
        binary = self._running.newest_redis().binary
        options = ("--appendonly", "yes", "--requirepass", PASSWORD)
        return self._stack.enter_context(RedisServer(binary, place, *options))

    def _start_mongodb(self, place: Path) -> Server:
        binary = self._running.mongodb().binary
        server = self._stack.enter_context(MongoServer(binary, place, "--auth"))
        # The first user may be made by anybody on the same machine.
        with Admin(server.url) as client:
            client.admin.command("createUser", "admin", pwd=PASSWORD, roles=["root"])
        with _mongodb_admin(server) as client:
            client.admin.command("createUser", "site", pwd=PASSWORD, roles=_ROLES)
        return server

    def _start_replica_set(self, place: Path) -> Server:
        binary = self._running.mongodb().binary
        return self._stack.enter_context(MongoReplicaSet(binary, place, size=1)).members[0]

    def _start_memcached(self, place: Path) -> Server:
        return self._stack.enter_context(MemcachedServer(self._running.memcached().binary, place))

    def _start_postgresql(self, place: Path) -> Server:
        binary = self._running.database("database-postgresql").binary
        return self._stack.enter_context(PostgreSQLServer(binary, place))

    def _start_mariadb(self, place: Path) -> Server:
        binary = self._running.database("database-mariadb").binary
        # What it acknowledged is to outlive the process.
        option = "--innodb-flush-log-at-trx-commit=2"
        return self._stack.enter_context(MariaDBServer(binary, place, option))


_ROLES = [{"role": "readWrite", "db": DATABASE}]


def url(kind: str, proxy: TCPProxy | Server) -> str:
    """Return where a site finds the server of *kind* behind *proxy*, or without one."""
    if kind == "redis":
        return f"redis://:{PASSWORD.replace(' ', '%20')}@{proxy.host}:{proxy.port}/0"
    if kind == "memcached":
        return f"{proxy.host}:{proxy.port}"
    if kind in DATABASES:
        return f"{kind}://{proxy.host}:{proxy.port}"
    user = f"site:{PASSWORD.replace(' ', '%20')}@" if kind == "mongodb" else ""
    return f"mongodb://{user}{proxy.host}:{proxy.port}/?directConnection=true"


@contextmanager
def stopped(place: Place) -> Iterator[None]:
    place.server.stop()
    # The proxy must not be what answers in its place.
    place.proxy.refuse()
    try:
        yield
    finally:
        place.server.start()
        place.proxy.accept()


@contextmanager
def killed(place: Place) -> Iterator[None]:
    place.server.kill()
    try:
        yield
    finally:
        place.server.start()


@contextmanager
def cut_off(place: Place) -> Iterator[None]:
    # What a memcached that stops has held is gone.
    place.proxy.refuse()
    try:
        yield
    finally:
        place.proxy.accept()


@contextmanager
def hanging(place: Place) -> Iterator[None]:
    place.server.pause()
    try:
        yield
    finally:
        place.server.resume()


@contextmanager
def _redis_admin(server: Server) -> Iterator[Any]:
    with redis.Redis(port=server.port, password=PASSWORD, protocol=2) as client:
        yield client


@contextmanager
def _configured(server: Server, **options: str) -> Iterator[None]:
    with _redis_admin(server) as client:
        before = {name: client.config_get(name)[name] for name in options}
        for name, value in options.items():
            client.config_set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


def _hang_up(place: Place) -> None:
    """Close the connections that have said the right password."""
    place.proxy.refuse()
    place.proxy.accept()


@contextmanager
def password_changed(place: Place) -> Iterator[None]:
    with _configured(place.server, requirepass="another"):
        _hang_up(place)
        yield


@contextmanager
def redis_rights_withdrawn(place: Place) -> Iterator[None]:
    with _redis_admin(place.server) as client:
        client.execute_command("ACL", "SETUSER", "default", "-get", "-set", "-evalsha")
        try:
            yield
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+@all")


@contextmanager
def without_free_connections(place: Place) -> Iterator[None]:
    # The administrator's connection is the one that is allowed.
    with _configured(place.server, maxclients="1"):
        _hang_up(place)
        yield


def _wait_for_persistence(client: Any, name: str, value: object) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while client.info("persistence")[name] != value:
        assert time.monotonic() < deadline, f"{name} must become {value}"
        time.sleep(0.01)


@contextmanager
def unable_to_persist(place: Place) -> Iterator[None]:
    # Redis can't write its file where there is a directory.
    obstacle = place.server.directory / "dump.rdb"
    obstacle.mkdir()
    (obstacle / "file").touch()
    try:
        with _configured(place.server, save="3600 1000000"), _redis_admin(place.server) as client:
            client.bgsave()
            _wait_for_persistence(client, "rdb_last_bgsave_status", "err")
            yield
    finally:
        (obstacle / "file").unlink()
        obstacle.rmdir()


@contextmanager
def loading(place: Place) -> Iterator[None]:
    server = place.server
    fillers = [f"filler-{number}" for number in range(1000)]
    with _redis_admin(server) as client:
        client.mset({name: os.urandom(2000) for name in fillers})
        client.bgrewriteaof()
        _wait_for_persistence(client, "aof_rewrite_in_progress", 0)
    server.stop()
    # Keys come slowly, and the server answers between two of them: after each 1024 bytes.
    slow = ("--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024")
    slowly = LoadingRedis(server.binary, server.directory, *server.options, *slow)
    slowly.port = server.port
    try:
        with slowly:
            yield
    finally:
        server.start()
        with _redis_admin(server) as client:
            client.delete(*fillers)


@contextmanager
def out_of_memory(place: Place) -> Iterator[None]:
    with _configured(place.server, **{"maxmemory-policy": "noeviction", "maxmemory": "1"}):
        yield


@contextmanager
def read_only_replica(place: Place) -> Iterator[None]:
    with _redis_admin(place.server) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def replica_that_lost_its_master(place: Place) -> Iterator[None]:
    stale = {"replica-serve-stale-data": "no"}
    with _configured(place.server, **stale), read_only_replica(place):
        yield


@contextmanager
def _mongodb_admin(server: Server) -> Iterator[Admin]:
    with Admin(server.url, username="admin", password=PASSWORD) as client:
        yield client


@contextmanager
def mongodb_password_changed(place: Place) -> Iterator[None]:
    with _mongodb_admin(place.server) as client:
        client.admin.command("updateUser", "site", pwd="another")
        _hang_up(place)
        try:
            yield
        finally:
            client.admin.command("updateUser", "site", pwd=PASSWORD)


@contextmanager
def rights_withdrawn(place: Place) -> Iterator[None]:
    with _mongodb_admin(place.server) as client:
        client.admin.command("updateUser", "site", roles=[])
        try:
            yield
        finally:
            client.admin.command("updateUser", "site", roles=_ROLES)


@contextmanager
def not_primary(place: Place) -> Iterator[None]:
    with Admin(place.server.url) as client:
        client.admin.command("replSetStepDown", 600, force=True)
        try:
            yield
        finally:
            # It may stand for election again, and wins: it is alone.
            client.admin.command("replSetFreeze", 0)
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not client.admin.command("hello")["isWritablePrimary"]:
                assert time.monotonic() < deadline, "the only member must become primary"


OUTAGES = [
    Outage(kind="redis", begin=stopped),
    Outage(kind="redis", begin=hanging, is_waited_for=True),
    Outage(kind="redis", begin=password_changed),
    Outage(kind="redis", begin=redis_rights_withdrawn),
    Outage(kind="redis", begin=without_free_connections),
    Outage(kind="redis", begin=loading),
    Outage(kind="redis", begin=replica_that_lost_its_master),
    Outage(kind="redis", begin=read_only_replica, can_read=True),
    Outage(kind="redis", begin=unable_to_persist, can_read=True),
    # To end a session frees memory.
    Outage(kind="redis", begin=out_of_memory, can_read=True, can_end=True),
    Outage(kind="mongodb", begin=stopped, is_waited_for=True),
    Outage(kind="mongodb", begin=hanging, is_waited_for=True),
    # PyMongo takes the server for down until its monitor has asked again.
    Outage(kind="mongodb", begin=mongodb_password_changed, is_waited_for=True),
    Outage(kind="mongodb", begin=rights_withdrawn),
    Outage(kind="replica_set", begin=not_primary, can_read=True),
    Outage(kind="memcached", begin=cut_off),
    Outage(kind="memcached", begin=hanging, is_waited_for=True),
    Outage(kind="postgresql", begin=killed),
    Outage(kind="mariadb", begin=killed),
]
