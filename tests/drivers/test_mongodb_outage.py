"""Outages, lost answers and time limits: what a driver says, and that it comes back by itself."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import AutoReconnect
from servers import MongoReplicaSet, MongoServer, free_port

from django_multisession.core.records import SAVED
from django_multisession.drivers.mongodb import MongoDBDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.driver_fixtures import left_by, make_end, next_write
from tests.drivers.mongodb_driving import DATABASE, HOUR, NOW, Commands, Driving, Looking, record
from tests.proxy import TCPProxy

# Time limits are the client library's affair.
pytestmark = pytest.mark.once

WITHIN = 60.0


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Iterator[Driving]:
    with Driving(request.param) as driving:
        yield driving
    collect_what_pymongo_left()


@pytest.fixture
def proxy(mongodb_standalone: MongoServer) -> Iterator[TCPProxy]:
    with TCPProxy(mongodb_standalone.host, mongodb_standalone.port) as proxy:
        yield proxy


@pytest.fixture
def driver(proxy: TCPProxy, driving: Driving) -> MongoDBDriver:
    """Behind the proxy, which outlives it, with its indexes created."""
    driver = driving.open(f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true")
    driving.ask(driver, "get", "warm-up")
    proxy.reset()
    return driver


@pytest.fixture
def own_server(mongodb_standalone: MongoServer, tmp_path: Path) -> Iterator[MongoServer]:
    with MongoServer(mongodb_standalone.binary, tmp_path / "mongod") as server:
        yield server


def collect_what_pymongo_left() -> None:
    """Collect sockets here, where it is known why they are open.

    After an outage an async client's monitor connects anew. Closed while it does, PyMongo (4.20,
    `_async_create_connection`) leaves the socket to the garbage collector, which would warn of it
    in some later test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def until_answered(driving: Driving, driver: MongoDBDriver, verb: str, *arguments: Any) -> Any:
    """Ask again and again, as requests would; the server is on its way back."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            return driving.ask(driver, verb, *arguments)
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


def test_a_write_whose_answer_was_lost_is_stored_once(
    proxy: TCPProxy, driving: Driving, driver: MongoDBDriver
) -> None:
    first = record()
    second = next_write(first)
    third = next_write(second)
    left, end, claiming = left_by(third, "new"), make_end(), record()
    claimed = left_by(claiming, "claimed")
    for verb, arguments, expected in [
        ("add", ("old", first), True),
        ("replace", ("old", second, first, NOW), SAVED),
        ("move", ("old", "new", third, second, left, NOW), SAVED),
        ("touch", ("new", third, NOW + HOUR / 2, NOW), SAVED),
        ("delete", ("new", end), True),
        ("move", ("new", "claimed", claiming, end, claimed, NOW), SAVED),
    ]:
        proxy.reset()
        proxy.cut_next_answer()
        assert driving.ask(driver, verb, *arguments) == expected
        assert len(proxy.commands) == 2
    assert driving.ask(driver, "get", "old") == left
    assert driving.ask(driver, "get", "new") == claimed
    assert driving.ask(driver, "get", "claimed") == claiming


def test_a_read_whose_answer_was_lost_is_asked_again(
    proxy: TCPProxy, driving: Driving, driver: MongoDBDriver
) -> None:
    stored = record()
    driving.ask(driver, "add", "key", stored)
    proxy.cut_next_answer()
    assert driving.ask(driver, "get", "key") == stored


def test_nothing_is_asked_again_after_a_timeout(
    proxy: TCPProxy, driving: Driving, caplog: pytest.LogCaptureFixture
) -> None:
    commands = Commands()
    driver = driving.open(
        f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true",
        timeoutMS=1000,
        event_listeners=[commands],
    )
    driving.ask(driver, "get", "warm-up")
    commands.sent.clear()
    proxy.hang()
    caplog.set_level(logging.DEBUG, "pymongo.serverSelection")
    with pytest.raises(StoreUnavailable, match=r"^MongoDB did not answer \(\w+\)\.$"):
        driving.ask(driver, "add", "key", record())
    assert commands.names == ["update"]
    proxy.resume()
    # A second attempt would look for a server first, and find none that answers.
    assert caplog.text.count("Server selection started") == 1


def test_what_is_sent_again_has_the_rest_of_the_time_limit(
    mongodb_standalone: MongoServer, driving: Driving
) -> None:
    connection = driving.open(mongodb_standalone.url, timeoutMS=200)._connection
    tries = []

    def hung_up_on_late(sessions: Any) -> Any:
        # As a monitor does that finds the server down while a command waits for it.
        tries.append(sessions)
        if len(tries) == 1:
            time.sleep(0.2)
            raise AutoReconnect
        return sessions.find_one()

    def send() -> Any:
        if driving.way == "sync":
            return connection.send(hung_up_on_late)
        return driving.runner.run(connection.asend(hung_up_on_late))

    with pytest.raises(StoreUnavailable):
        send()


def test_a_server_that_is_down_is_an_outage_and_says_only_the_kind_of_error(
    driving: Driving,
) -> None:
    driver = driving.open(f"mongodb://user:secret@127.0.0.1:{free_port()}", timeoutMS=100)
    for verb, arguments in [
        ("add", ("key", record())),
        ("get", ("key",)),
        ("replace", ("key", record(), record(), NOW)),
        ("move", ("key", "new", record(), record(), make_end(), NOW)),
        ("touch", ("key", record(), NOW, NOW)),
        ("delete", ("key", make_end())),
        ("purge_expired", (NOW, 10)),
    ]:
        with pytest.raises(StoreUnavailable) as caught:
            driving.ask(driver, verb, *arguments)
        assert str(caught.value) == "MongoDB did not answer (ServerSelectionTimeoutError)."


@pytest.mark.parametrize("verb", ["add", "replace", "move"])
def test_a_refused_write_takes_no_payload_into_the_error(
    verb: str, driving: Driving, mongodb_server: MongoServer | MongoReplicaSet
) -> None:
    driver = driving.open(mongodb_server.url)
    first = record()
    driving.ask(driver, "add", "old", first)
    with Looking(mongodb_server.url, driver) as looking:
        looking.client[DATABASE].command(
            "collMod", looking.sessions.name, validator={"never": {"$exists": True}}
        )
        second = next_write(first, payload=b"PAYLOAD")
        arguments: dict[str, tuple[Any, ...]] = {
            "add": ("other", second),
            "replace": ("old", second, first, NOW),
            "move": ("old", "other", second, first, left_by(second, "other"), NOW),
        }
        with pytest.raises(StoreUnavailable) as caught:
            driving.ask(driver, verb, *arguments[verb])
    assert "PAYLOAD" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_recovery_needs_no_restart(driving: Driving, own_server: MongoServer) -> None:
    driver = driving.open(own_server.url, timeoutMS=1000)
    stored = record()
    assert until_answered(driving, driver, "add", "key", stored)
    own_server.stop()
    with pytest.raises(StoreUnavailable):
        driving.ask(driver, "get", "key")
    own_server.start()
    assert until_answered(driving, driver, "get", "key") == stored


def test_a_fail_over_loses_no_session_and_needs_no_restart(
    driving: Driving, mongodb_standalone: MongoServer, tmp_path: Path
) -> None:
    with MongoReplicaSet(mongodb_standalone.binary, tmp_path / "set") as servers:
        driver = driving.open(servers.url, timeoutMS=2000)
        first = record()
        assert until_answered(driving, driver, "add", "key", first)
        primary = servers.primary
        assert primary is not None
        primary.kill()
        second = next_write(first)
        answer = until_answered(driving, driver, "replace", "key", second, first, NOW)
        assert answer == SAVED
        assert until_answered(driving, driver, "get", "key") == second


def test_a_cancelled_request_leaves_no_connection_that_answers_the_next(
    own_server: MongoServer,
) -> None:
    async def walk(driver: MongoDBDriver, proxy: TCPProxy) -> None:
        mine, yours = record(user_id="mine"), record(user_id="yours")
        await driver.aadd("mine", mine)
        await driver.aadd("yours", yours)
        own_server.pause()
        try:
            request = asyncio.create_task(driver.aget("mine"))
            # Until it waits for its answer: sent, and some turns later. In Python 3.11 wait_for()
            # forgets a cancellation that comes in the turn in which sending ends.
            while "find" not in proxy.commands:  # noqa: ASYNC110  (another thread sees it)
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
        finally:
            own_server.resume()
        assert await driver.aget("yours") == yours
        assert await driver.aget("mine") == mine

    with TCPProxy(own_server.host, own_server.port) as proxy, Driving("async") as driving:
        url = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true"
        driving.runner.run(walk(driving.open(url, maxPoolSize=1), proxy))
    collect_what_pymongo_left()
