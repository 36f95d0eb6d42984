"""Outages, lost answers and time limits: what a driver says, and that it comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo import errors
from pymongo.errors import AutoReconnect
from servers import MongoReplicaSet, MongoServer

from django_multisession.core.records import NEVER, SAVED
from django_multisession.drivers.base import arun
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import left_by, make_end
from django_multisession.testing.stored_records import next_write
from tests.drivers.mongodb_driving import DATABASE, HOUR, NOW, Commands, Driving, Looking, record
from tests.proxy import TCPProxy

# Time limits are the client library's affair.
pytestmark = pytest.mark.once

WITHIN = 60.0


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Iterator[Driving]:
    with Driving(request.param) as driving:
        yield driving


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
    retired, added = make_end(), record()
    for verb, arguments, expected, commands in [
        ("add", ("old", first), True, ["insert", "insert", "find"]),
        ("replace", ("old", second, first, NOW), SAVED, ["update", "update", "find"]),
        ("move", ("old", "new", third, second, left, NOW), SAVED, ["update", "update", "find"]),
        ("touch", ("new", third, NOW + HOUR // 2, NOW), SAVED, ["update", "update", "find"]),
        ("delete", ("new", end), True, ["findAndModify"] * 2),
        (
            "move",
            ("new", "claimed", claiming, end, claimed, NOW),
            SAVED,
            ["update", "update", "find"],
        ),
        ("add", ("retired", added), True, ["insert", "insert", "find"]),
        ("retire", ("retired", added, retired, NOW, NEVER), SAVED, ["update", "update", "find"]),
        ("add", ("withdrawn", added), True, ["insert", "insert", "find"]),
        ("withdraw", ("withdrawn", added), None, ["delete"] * 2),
    ]:
        proxy.reset()
        proxy.cut_next_answer()
        assert driving.ask(driver, verb, *arguments) == expected
        assert proxy.commands == commands
    assert driving.ask(driver, "get", "retired") == retired
    assert driving.ask(driver, "get", "withdrawn") is None
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
    with pytest.raises(
        StoreUnavailable, match=r"^MongoDB at [\w.:]+/\w+ did not answer \(\w+\)\.$"
    ) as caught:
        driving.ask(driver, "add", "key", record())
    assert caught.value.kind is OutageKind.TIMED_OUT
    assert commands.names == ["insert"]
    proxy.resume()
    # A second attempt would look for a server first, and find none that answers.
    assert caplog.text.count("Server selection started") == 1


def test_what_is_sent_again_has_the_rest_of_the_time_limit(
    mongodb_standalone: MongoServer, driving: Driving
) -> None:
    server = driving.open(mongodb_standalone.url, timeoutMS=200).server
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
            return server.send(hung_up_on_late)
        return driving.runner.run(server.asend(hung_up_on_late))

    with pytest.raises(StoreUnavailable):
        send()


@pytest.mark.long
def test_a_server_that_is_down_is_an_outage_and_says_only_the_kind_of_error(
    driving: Driving,
) -> None:
    driver = driving.open("mongodb://user:secret@127.0.0.1:1", timeoutMS=100)
    for verb, arguments in [
        ("add", ("key", record())),
        ("get", ("key",)),
        ("replace", ("key", record(), record(), NOW)),
        ("move", ("key", "new", record(), record(), make_end(), NOW)),
        ("touch", ("key", record(), NOW, NOW)),
        ("retire", ("key", record(), make_end(), NOW, NEVER)),
        ("withdraw", ("key", record())),
        ("delete", ("key", make_end())),
    ]:
        with pytest.raises(StoreUnavailable) as caught:
            driving.ask(driver, verb, *arguments)
        says = r"MongoDB at [\w.:]+/\w+ did not answer \(ServerSelectionTimeoutError\)\."
        assert re.fullmatch(says, str(caught.value))
        assert caught.value.kind is OutageKind.UNREACHABLE


def test_a_pool_without_a_free_connection_is_overloaded(
    proxy: TCPProxy, mongodb_standalone: MongoServer
) -> None:
    commands = Commands()
    with Driving("sync") as driving:
        driver = driving.open(
            f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true",
            maxPoolSize=1,
            event_listeners=[commands],
        )
        driving.ask(driver, "get", "warm-up")
        commands.sent.clear()
        proxy.hang()
        waiting = threading.Thread(target=driving.ask, args=(driver, "get", "key"))
        waiting.start()
        try:
            deadline = time.monotonic() + WITHIN
            while "find" not in commands.names and time.monotonic() < deadline:
                pass
            with pytest.raises(StoreUnavailable) as caught, pymongo.timeout(0.1):
                driving.ask(driver, "get", "key")
        finally:
            proxy.resume()
            waiting.join()
    assert caught.value.kind is OutageKind.OVERLOADED


@pytest.mark.long
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.AutoReconnect("lost"), OutageKind.UNREACHABLE),
        (errors.NotPrimaryError("an election"), OutageKind.UNREACHABLE),
        (errors.OperationFailure("shutting down", 11600), OutageKind.UNREACHABLE),
        (errors.NetworkTimeout("late"), OutageKind.TIMED_OUT),
        (errors.ExecutionTimeout("late", 50), OutageKind.TIMED_OUT),
        (errors.WTimeoutError("late", 64), OutageKind.TIMED_OUT),
        (errors.OperationFailure("no rights", 13), OutageKind.REFUSED),
        (errors.BulkWriteError({"writeErrors": [{"code": 121}]}), OutageKind.REFUSED),
        (errors.InvalidOperation("no"), OutageKind.REFUSED),
        (errors.OperationFailure("too many sessions", 261), OutageKind.OVERLOADED),
        (
            errors.BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 462}]}),
            OutageKind.OVERLOADED,
        ),
    ],
)
def test_an_outage_says_of_which_kind_it_is(
    driving: Driving, mongodb_standalone: MongoServer, error: Exception, kind: OutageKind
) -> None:
    server = driving.open(mongodb_standalone.url).server

    def fail(sessions: Any) -> Any:
        raise error

    async def afail(sessions: Any) -> Any:
        raise error

    def ask() -> Any:
        if driving.way == "sync":
            return server.send(fail)
        return driving.runner.run(server.asend(afail))

    with pytest.raises(StoreUnavailable) as caught:
        ask()
    assert caught.value.kind is kind


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
    assert caught.value.kind is OutageKind.REFUSED
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.long
def test_recovery_needs_no_restart(driving: Driving, own_server: MongoServer) -> None:
    driver = driving.open(own_server.url, timeoutMS=1000)
    stored = record()
    assert until_answered(driving, driver, "add", "key", stored)
    own_server.stop()
    with pytest.raises(StoreUnavailable):
        driving.ask(driver, "get", "key")
    own_server.start()
    assert until_answered(driving, driver, "get", "key") == stored


@pytest.mark.long
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
        mine, yours = record(user=b"mine"), record(user=b"yours")
        await arun(driver.add("mine", mine))
        await arun(driver.add("yours", yours))
        own_server.pause()
        try:
            request = asyncio.create_task(arun(driver.get("mine")))
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
        assert await arun(driver.get("yours")) == yours
        assert await arun(driver.get("mine")) == mine

    with TCPProxy(own_server.host, own_server.port) as proxy, Driving("async") as driving:
        url = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true"
        driving.runner.run(walk(driving.open(url, maxPoolSize=1), proxy))
