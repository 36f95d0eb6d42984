"""Clients: their options, and how they share a pool, end with their loop and survive a fork."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pymongo.monitoring import ConnectionPoolListener
from servers import MongoReplicaSet, MongoServer

from django_multisession.drivers.base import arun
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.drivers.mongodb.options import hosts_of
from django_multisession.testing.driver.fixtures import left_by, make_end
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.drivers.mongodb_driving import NOW, Commands, Driving, record


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Iterator[Driving]:
    with Driving(request.param) as driving:
        yield driving


class Opened(ConnectionPoolListener):
    """Counts the connections of a pool."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def connection_created(self, event: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def connection_closed(self, event: Any) -> None:
        self.now -= 1

    def _ignore(self, event: Any) -> None: ...

    pool_created = pool_ready = pool_cleared = pool_closed = _ignore
    connection_ready = connection_check_out_started = connection_check_out_failed = _ignore
    connection_checked_out = connection_checked_in = _ignore


def test_a_hundred_requests_in_flight_share_the_pool(mongodb_standalone: MongoServer) -> None:
    opened = Opened()

    async def walk(driver: MongoDBDriver) -> None:
        stored = record()
        await arun(driver.add("key", stored))
        answers = await asyncio.gather(*(arun(driver.get("key")) for _ in range(100)))
        assert answers == [stored] * 100

    with Driving("async") as driving:
        driver = driving.open(mongodb_standalone.url, maxPoolSize=5, event_listeners=[opened])
        driving.runner.run(walk(driver))
    assert 0 < opened.most <= 5
    assert opened.now == 0


def test_a_closed_driver_opens_again(driving: Driving, mongodb_standalone: MongoServer) -> None:
    opened = Opened()
    driver = driving.open(mongodb_standalone.url, event_listeners=[opened])
    stored = record()
    driving.ask(driver, "add", "key", stored)
    assert opened.now > 0
    driving.close(driver)
    assert opened.now == 0
    assert driving.ask(driver, "get", "key") == stored


@for_each(
    "options",
    [
        {"URI": "mongodb://user:p@ssword@:x"},
        {"URI": "http://password"},
        {"URI": "mongodb://host", "maxPoolSize": "password"},
        {"URI": "mongodb://host", "no_such_option": "password"},
        {"URI": "mongodb://host", "DATABASE": "pass word"},
        {"URI": 5},
    ],
)
def test_options_that_pymongo_does_not_take_are_reported_without_their_values(
    options: dict[str, Any],
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        MongoDBDriver(options, time.time)
    assert "password" not in str(caught.value)
    assert caught.value.__context__ is None


def client_of(driver: MongoDBDriver) -> Any:
    return driver.server._opened().database.client


def test_limits_are_ours_unless_the_uri_or_the_options_say_otherwise() -> None:
    ours = client_of(MongoDBDriver({"URI": "mongodb://host/"}, time.time)).options
    assert (ours.timeout, ours.server_selection_timeout) == (2.0, 2.0)
    assert (ours.retry_writes, ours.retry_reads) == (False, False)
    assert (ours.pool_options.max_pool_size, ours.pool_options.connect_timeout) == (50, 2.0)
    assert ours.pool_options.appname == "django-multisession"
    uri = "mongodb://host/?timeoutms=7000&MAXPOOLSIZE=3&retryWrites=true&appName=a"
    theirs = client_of(MongoDBDriver({"URI": uri, "connecttimeoutms": 5000}, time.time)).options
    assert (theirs.timeout, theirs.pool_options.max_pool_size) == (7.0, 3)
    assert (theirs.pool_options.connect_timeout, theirs.pool_options.appname) == (5.0, "a")
    # A URI copied from Atlas does not mean it; the options do.
    assert not theirs.retry_writes
    meant = client_of(MongoDBDriver({"URI": uri, "retryWrites": True}, time.time)).options
    assert meant.retry_writes


@for_each(
    ("options", "database", "collection"),
    [
        ({"URI": "mongodb://host"}, "multisession", "django_multisession"),
        ({"URI": "mongodb://host/shop?w=1"}, "shop", "django_multisession"),
        ({"URI": "mongodb://host/shop", "DATABASE": "db"}, "db", "django_multisession"),
        ({"URI": "mongodb://host", "COLLECTION": "visits"}, "multisession", "visits"),
    ],
)
def test_the_options_name_the_collection(
    options: dict[str, Any], database: str, collection: str
) -> None:
    sessions = MongoDBDriver(options, time.time).server._opened()
    assert (sessions.database.name, sessions.name) == (database, collection)


def test_writes_are_acknowledged_by_a_majority_and_reads_are_the_primarys(
    driving: Driving, mongodb_server: MongoServer | MongoReplicaSet
) -> None:
    commands = Commands()
    driver = driving.open(
        f"{mongodb_server.url}&w=1&readPreference=secondaryPreferred", event_listeners=[commands]
    )
    first = record()
    second = next_write(first)
    driving.ask(driver, "get", "warm-up")
    commands.sent.clear()
    driving.ask(driver, "add", "old", first)
    driving.ask(driver, "replace", "old", second, first, NOW)
    third = next_write(second)
    driving.ask(driver, "move", "old", "new", third, second, left_by(third, "new"), NOW)
    driving.ask(driver, "touch", "new", third, NOW + 1, NOW)
    driving.ask(driver, "delete", "new", make_end())
    assert [command["writeConcern"] for command in commands.sent] == [{"w": "majority"}] * 5
    commands.sent.clear()
    driving.ask(driver, "get", "new")
    assert commands.sent[0].get("$readPreference", {"mode": "primary"})["mode"] in {
        "primary",
        # To a single server PyMongo says this whatever is asked for.
        "primaryPreferred",
    }


def run_program(program: str, url: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_loops_and_close_leave_no_socket_behind(mongodb_standalone: MongoServer) -> None:
    done = run_program(
        """
        import asyncio, gc, sys, time
        from django_multisession.drivers.base import arun, run
        from django_multisession.drivers.mongodb.driver import MongoDBDriver
        driver = MongoDBDriver({"URI": sys.argv[1]}, time.time)
        for _ in range(10):
            asyncio.run(arun(driver.get("key")))
        run(driver.get("key"))
        driver.close()
        run(driver.get("key"))
        driver.close()
        gc.collect()
        """,
        mongodb_standalone.url,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_process_has_clients_of_its_own(mongodb_standalone: MongoServer) -> None:
    done = run_program(
        """
        import asyncio, os, sys, time, traceback, warnings
        from django_multisession.drivers.base import arun, run
        from django_multisession.drivers.mongodb.driver import MongoDBDriver
        # Python 3.12 warns of any fork beside threads, and PyMongo has some.
        warnings.filterwarnings("ignore", "This process", DeprecationWarning)
        driver = MongoDBDriver({"URI": sys.argv[1]}, time.time)
        run(driver.get("key"))
        parents = driver.server._opened()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(driver.get("key"))
                asyncio.run(arun(driver.get("key")))
                code = 2 if driver.server._opened() is parents else 0
                driver.close()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        run(driver.get("key"))
        assert driver.server._opened() is parents
        driver.close()
        """,
        mongodb_standalone.url,
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_pymongo_is_named() -> None:
    done = run_program(
        """
        import sys
        sys.modules["pymongo"] = None
        from django.core.exceptions import ImproperlyConfigured
        try:
            from django_multisession.drivers.mongodb.driver import MongoDBDriver
        except ImproperlyConfigured as error:
            print(error)
        """
    )
    assert done.stdout == "Install django-multisession[mongodb] to use this engine.\n", done.stderr


@for_each(
    ("uri", "hosts"),
    [
        ("mongodb://host", "host"),
        ("mongodb://one:27017,two:27018/shop?replicaSet=rs0", "one:27017,two:27018"),
        ("mongodb://user:secret@host/", "host"),
        ("mongodb://user:se%40cret@host?tls=true", "host"),
        ("mongodb+srv://user:secret@cluster.example/shop", "cluster.example"),
    ],
)
def test_a_message_names_the_hosts_and_no_password(uri: str, hosts: str) -> None:
    assert hosts_of(uri) == hosts
