"""The `engine` fixture: a test that asks for it runs on every engine and every kind of server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pymongo
import pytest
import redis
from asgiref.sync import SyncToAsync, sync_to_async
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from servers import MemcachedServer

from django_multisession.drivers.base import Driver
from django_multisession.engine import close_drivers
from django_multisession.store import DriverSessionStore

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

    from tests.conftest import Running

ENGINES = (
    "memory",
    "redis-6.2",
    "redis-7.0",
    "redis-8.2",
    "mongodb-standalone",
    "mongodb-replica-set",
    "memcached",
    "database-sqlite",
    "database-postgresql",
    "database-mariadb",
    "tiered-redis-mongodb",
    "tiered-memory-redis",
)

#: Two stores: one of each that lie on two servers, for what lies above the drivers.
TIERED = "tiered-redis-mongodb"
#: Those whose sessions another one lists.
LISTED = "memcached-redis"
LISTED_COOKIE = "cookie-redis"
TIERED_ENGINES = (TIERED, "tiered-memory-redis")
#: A kind of store → its server, as a part of an engine of two.
SERVERS_OF_PARTS = {
    "redis": "redis-8.2",
    "mongodb": "mongodb-standalone",
    "database": "database-sqlite",
}

#: The engine whose sessions clients hold, alone and with revocations in Redis: see tests/cookie.
COOKIE_ENGINES = ("cookie", "cookie-revocable")
COOKIE, REVOCABLE = COOKIE_ENGINES
#: The memory engine that encrypts what it stores.
ENCRYPTED = "memory-encrypted"
SQLITE = "database-sqlite"
DATABASES = (SQLITE, "database-postgresql", "database-mariadb")
MONGODBS = ("mongodb-standalone", "mongodb-replica-set")

#: One server of each kind, for what lies above the drivers: a driver's own laws run on every server.
ONE_OF_EACH_KIND = ("memory", "redis-8.2", "mongodb-standalone", "memcached", "database-postgresql")


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """An engine that is set as ``SESSION_ENGINE``, on a running server.

    Attributes:
        name: One of `ENGINES`.
        server: What runs it; None for memory.
    """

    name: str
    server: Any = None

    @property
    def kind(self) -> str:
        """``"memory"``, ``"redis"``, ``"mongodb"``, ``"memcached"``, ``"database"`` or ``"tiered"``."""
        return self.name.partition("-")[0]

    @property
    def path(self) -> str:
        """What ``SESSION_ENGINE`` is set to."""
        return f"django_multisession.engines.{self.kind}"

    @property
    def SessionStore(self) -> type[DriverSessionStore]:  # noqa: N802  (as engines spell it)
        store: type[DriverSessionStore] = import_module(self.path).SessionStore
        return store

    @property
    def driver(self) -> Driver:
        return self.SessionStore.get_driver()

    @property
    def notes(self) -> Driver:
        """What keeps the marks and the seats of users."""
        notes: Driver = getattr(self.driver, "notes", self.driver)
        return notes


#: Let no pause of a busy machine pass for an outage.
PATIENCE: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": 60, "socket_connect_timeout": 60},
    "mongodb": {"timeoutMS": 60_000, "serverSelectionTimeoutMS": 60_000},
    "memcached": {"timeout": 60, "connect_timeout": 60},
}
PATIENCE_OF_DATABASES: dict[str, dict[str, Any]] = {
    SQLITE: {
        "timeout": 60,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
    },
}


def use_engine(
    name: str, settings: Settings, running_servers: Running, url: str | None = None
) -> Engine:
    """Start the server of engine *name* and point the settings at it.

    Each test gets a driver of its own, and a prefix or a collection without records. A MongoDB of the
    test's own, as *url*, isn't emptied.
    The clients are patient; a test that waits for an outage shortens that: see `add_options`.

    Args:
        url: Where to reach the server instead: a proxy.
    """
    close_drivers()
    engine = Engine(name)
    if engine.kind == "tiered":
        front, back = name.split("-")[1:]
        for part in (front, back):
            use_engine(SERVERS_OF_PARTS.get(part, part), settings, running_servers)
        path = "django_multisession.engines."
        settings.MULTISESSION_TIERED = {"FRONT": f"{path}{front}", "BACK": f"{path}{back}"}
    mine = uuid.uuid4().hex[:12]
    if engine.kind == "redis":
        engine = Engine(name, running_servers.redis(name))
        settings.MULTISESSION_REDIS = {
            "URL": url or engine.server.url,
            "KEY_PREFIX": f"{mine}:",
            "OPTIONS": PATIENCE["redis"],
        }
    elif engine.kind == "mongodb":
        engine = Engine(name, running_servers.mongodb_of(name))
        settings.MULTISESSION_MONGODB = {
            "URI": url or engine.server.url,
            "DATABASE": "multisession_tests",
            "COLLECTION": "sessions",
            # Its client finds out by waiting that a proxy refuses connections.
            "OPTIONS": PATIENCE["mongodb"] | ({"serverSelectionTimeoutMS": 2000} if url else {}),
        }
        # A new collection and its indexes would take the server as long as the test.
        running_servers.mongodb_client(name)["multisession_tests"]["sessions"].delete_many({})
    elif engine.kind == "memcached":
        engine = Engine(name, running_servers.memcached())
        settings.MULTISESSION_MEMCACHED = {
            "SERVERS": [url or engine.server.url],
            "KEY_PREFIX": f"{mine}:",
            "OPTIONS": PATIENCE["memcached"],
        }
        if listing := name.partition("-")[2]:
            use_engine(SERVERS_OF_PARTS[listing], settings, running_servers)
            path = f"django_multisession.engines.{listing}"
            settings.MULTISESSION_MEMCACHED |= {"LISTED_IN": path}
    elif engine.kind == "database":
        engine = Engine(name, None if name == SQLITE else running_servers.database(name))
        running_servers.allow_queries()
        database = _database_of(engine, running_servers, url)
        open_database(name, database, PATIENCE_OF_DATABASES.get(name, {}))
        settings.MULTISESSION_DATABASE = {"ALIAS": name}
    elif name == LISTED_COOKIE:
        use_engine(SERVERS_OF_PARTS["redis"], settings, running_servers)
        path = "django_multisession.engines.redis"
        settings.MULTISESSION_COOKIE = {"REVOCATION": path, "LISTED_IN": path}
    settings.SESSION_ENGINE = engine.path
    return engine


def _database_of(engine: Engine, running_servers: Running, url: str | None) -> dict[str, Any]:
    if engine.server is None:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(running_servers.directory / f"{engine.name}.sqlite3"),
        }
    database: dict[str, Any] = engine.server.settings
    if url:
        database |= {"HOST": urlsplit(url).hostname, "PORT": urlsplit(url).port}
    return database


def open_database(alias: str, database: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Add *alias* to the databases of this process, with the table of sessions and no row in it."""
    from django_multisession.database.models import Session

    if database["ENGINE"].endswith("mysql"):
        # Django asks for MySQLdb, which has no wheel.
        import pymysql

        pymysql.install_as_MySQLdb()
    options = database.get("OPTIONS", {}) | options
    given = {DEFAULT_DB_ALIAS: {}, alias: {**database, "OPTIONS": options}}
    connections.settings[alias] = connections.configure_settings(given)[alias]
    _let_go_of_another_place(alias)
    sync_code = SyncToAsync.single_thread_executor
    if threading.current_thread() not in sync_code._threads:
        # The thread of sync code under an event loop is shared by all tests.
        sync_code.submit(_let_go_of_another_place, alias).result()
    # Migrations are for the first test of a worker, rows for each.
    if Session._meta.db_table not in connections[alias].introspection.table_names():
        call_command("migrate", Session._meta.app_label, database=alias, verbosity=0)
    Session.objects.using(alias).all().delete()


def _let_go_of_another_place(alias: str) -> None:
    """Close this thread's connection if another test opened it, to another address."""
    if connections[alias].settings_dict != connections.settings[alias]:
        connections[alias].close()
        del connections[alias]


def _close() -> None:
    for connection in connections.all(initialized_only=True):
        # close() of a database in memory does nothing.
        BaseDatabaseWrapper.close(connection)


@pytest.fixture
def closed_connections() -> Iterator[None]:
    """Leave no connection in the thread of sync code under an event loop, which all tests share.

    Whatever closes old connections there would query it, and not every test may.
    """
    yield
    asyncio.run(sync_to_async(_close)())


def memcached_items(engine: Engine, settings: Settings) -> dict[str, bytes]:
    """Return what this test's driver has in memcached, tombstones included."""
    from pymemcache.client.base import Client

    prefix, address = settings.MULTISESSION_MEMCACHED["KEY_PREFIX"], engine.server.url
    with contextlib.closing(Client(address)) as client:
        places = [each for each in places_of(engine.server) if each.startswith(prefix)]
        found = {place: client.get(place) for place in places}
    return {place: raw for place, raw in found.items() if raw}


def places_of(server: MemcachedServer) -> list[str]:
    """Return the keys that *server* holds."""
    with (
        socket.create_connection((server.host, server.port), 60) as connection,
        connection.makefile("rb") as lines,
    ):
        # "all" walks the eviction queues. It skips or repeats a key that moves between them, as a
        # key does that was just read. The hash table has each key once.
        connection.sendall(b"lru_crawler metadump hash\r\n")
        listed = iter(lines.readline, b"END\r\n")
        # The first word of a line is "key=", with the key as in a URL.
        return [unquote(line.split()[0].decode()).removeprefix("key=") for line in listed]


def add_options(kind: str, settings: Settings, options: Mapping[str, Any]) -> None:
    """Give the clients of the engines of *kind* further *options*."""
    name = f"MULTISESSION_{kind.upper()}"
    given = getattr(settings, name)
    setattr(settings, name, given | {"OPTIONS": {**given.get("OPTIONS", {}), **options}})


Count = Callable[[], int]


@pytest.fixture
def count_stored(engine: Engine, settings: Settings) -> Iterator[Count]:
    """Count the records in this test's store, tombstones too. A proxy doesn't see it."""
    if engine.kind == "memory":
        driver: Any = engine.driver
        before = len(driver)
        yield lambda: len(driver) - before
    elif engine.kind == "redis":
        pattern = settings.MULTISESSION_REDIS["KEY_PREFIX"] + "*"
        with redis.Redis.from_url(engine.server.url) as server:
            # While its table grows, a scan may name a key twice.
            yield lambda: len(set(server.scan_iter(pattern, _type="string")))
    elif engine.kind == "memcached":
        yield lambda: len(memcached_items(engine, settings))
    elif engine.kind == "database":
        from django_multisession.database.models import Session

        yield Session.objects.using(settings.MULTISESSION_DATABASE["ALIAS"]).count
    else:
        options = settings.MULTISESSION_MONGODB
        with pymongo.MongoClient[dict[str, Any]](engine.server.url) as client:
            collection = client[options["DATABASE"]][options["COLLECTION"]]
            yield lambda: collection.count_documents({})


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Engine:
    """Every engine on every kind of server, in turn."""
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(params=ONE_OF_EACH_KIND)
def engine_of_each_kind(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Engine:
    """Every engine, on one kind of server each."""
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(params=["redis-8.2", "mongodb-standalone", "memcached"])
def network_engine(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Engine:
    """One engine per kind of server that is reached over a network."""
    return use_engine(request.param, settings, running_servers)


def use_cookies(name: str, settings: Settings, running_servers: Running) -> None:
    """Set the engine *name*, one of `COOKIE_ENGINES`."""
    close_drivers()
    settings.SESSION_ENGINE = "django_multisession.engines.cookie"
    settings.MULTISESSION_COOKIE = {}
    if name == REVOCABLE:
        settings.MULTISESSION_COOKIE = {"REVOCATION": "django_multisession.engines.redis"}
        settings.MULTISESSION_REDIS = {
            "URL": running_servers.redis("redis-8.2").url,
            "KEY_PREFIX": f"{uuid.uuid4().hex[:12]}:",
            "OPTIONS": PATIENCE["redis"],
        }


@pytest.fixture(params=COOKIE_ENGINES)
def cookie_engine(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> str:
    """The cookie engine as ``SESSION_ENGINE``, alone and with the ends of sessions in Redis."""
    use_cookies(request.param, settings, running_servers)
    return str(request.param)
