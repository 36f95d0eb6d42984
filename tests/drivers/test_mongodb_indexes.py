"""The indexes, created once and never in anybody's way, and what `check()` says of a server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.monitoring import CommandStartedEvent
from servers import MongoReplicaSet, MongoServer

from django_multisession.core.records import to_datetime
from django_multisession.drivers import releases
from django_multisession.drivers.base import arun, run
from django_multisession.drivers.mongodb import checks as mongodb_checks
from django_multisession.drivers.mongodb import documents
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import left_by, make_end
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.docs.pages import section_of
from tests.drivers.mongodb_driving import (
    DATABASE,
    NOW,
    Commands,
    Driving,
    Looking,
    record,
)
from tests.drivers.problems import problems_of
from tests.drivers.test_mongodb import run_each_verb

WITHIN = 60.0
INDEXES = {"_id_", "collect_at_1", "user_id_1__id_1"}


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Iterator[Driving]:
    with Driving(request.param) as driving:
        yield driving


def test_indexes_are_created_once_however_many_are_first(mongodb_standalone: MongoServer) -> None:
    commands = Commands()
    with Driving("sync") as driving:
        driver = driving.open(mongodb_standalone.url, event_listeners=[commands])
        barrier = threading.Barrier(20)

        def request(number: int) -> None:
            barrier.wait()
            run(driver.add(f"key-{number}", record()))

        threads = [threading.Thread(target=request, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        async def requests() -> None:
            await asyncio.gather(
                *(arun(driver.add(f"key-a{number}", record())) for number in range(20))
            )

        asyncio.run(requests())
        with Looking(mongodb_standalone.url, driver) as looking:
            assert set(looking.sessions.index_information()) == INDEXES
    assert commands.names.count("createIndexes") == 2


def test_processes_may_create_the_indexes_concurrently(
    driving: Driving,
    mongodb_server: MongoServer | MongoReplicaSet,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Driving("sync") as others:
        # Drivers share nothing: to the server they are processes.
        first = others.open(mongodb_server.url)
        name = first.server.collection
        drivers = [first, *(others.open(mongodb_server.url, COLLECTION=name) for _ in range(7))]
        barrier = threading.Barrier(len(drivers))

        def request(driver: MongoDBDriver) -> None:
            barrier.wait()
            run(driver.add("key", record()))

        threads = [threading.Thread(target=request, args=(driver,)) for driver in drivers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems_of(first) == []
        with Looking(mongodb_server.url, first) as looking:
            assert set(looking.sessions.index_information()) == INDEXES
    assert caplog.records == []


def test_a_cancelled_first_request_leaves_the_indexes_to_the_next(
    mongodb_standalone: MongoServer,
) -> None:
    creating = asyncio.Event()

    class Creating(Commands):
        def started(self, event: CommandStartedEvent) -> None:
            if event.command_name == "createIndexes":
                creating.set()

    async def walk(driver: MongoDBDriver) -> None:
        request = asyncio.create_task(arun(driver.get("key")))
        await creating.wait()
        request.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request
        creating.clear()
        await arun(driver.get("key"))
        assert request.cancelled() == creating.is_set()

    with Driving("async") as driving:
        driver = driving.open(mongodb_standalone.url, event_listeners=[Creating()])
        driving.runner.run(walk(driver))


def test_an_index_that_differs_breaks_no_request_and_is_reported(
    driving: Driving, mongodb_standalone: MongoServer, caplog: pytest.LogCaptureFixture
) -> None:
    driver = driving.open(mongodb_standalone.url)
    with Looking(mongodb_standalone.url, driver) as looking:
        looking.sessions.create_index("collect_at", expireAfterSeconds=9)
        for number in range(3):
            assert driving.ask(driver, "add", f"key-{number}", record())
        assert [entry.levelname for entry in caplog.records] == ["WARNING"]
        problems = problems_of(driver)
    assert {problem.id for problem in problems} == {"multisession.W112"}
    assert "'expireAfterSeconds': 9" in problems[0].message
    assert all(problem.hint for problem in problems)


@pytest.mark.parametrize("taken", [("collect_at",), ("user_id", "_id")])
def test_an_index_that_differs_keeps_no_other_from_being_created(
    taken: tuple[str, ...],
    driving: Driving,
    mongodb_standalone: MongoServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = driving.open(mongodb_standalone.url)
    with Looking(mongodb_standalone.url, driver) as looking:
        looking.sessions.create_index([*taken], sparse=True)
        assert driving.ask(driver, "add", "key", record())
        assert set(looking.sessions.index_information()) == INDEXES
        (problem,) = problems_of(driver)
    assert problem.id == "multisession.W112"
    (entry,) = caplog.records
    assert f"The index on {', '.join(taken)} " in entry.getMessage()


@pytest.mark.parametrize("field", ["sid", "id", "user_id"])
def test_a_unique_index_of_another_application_is_an_outage_that_names_it(
    field: str, driving: Driving, mongodb_standalone: MongoServer
) -> None:
    driver = driving.open(mongodb_standalone.url)
    first, second = record(user=b"7"), record(user=b"7")
    moved = next_write(first, user=b"8")
    with Looking(mongodb_standalone.url, driver) as looking:
        looking.sessions.create_index(field, unique=True)
        assert driving.ask(driver, "add", "first", first)
        for verb, arguments in [
            ("add", ("second", second)),
            ("move", ("first", "new", next_write(first), first, left_by(moved, "new"), NOW)),
        ]:
            with pytest.raises(
                StoreUnavailable, match=f"a unique index on {field} isn't"
            ) as caught:
                driving.ask(driver, verb, *arguments)
            assert caught.value.kind is OutageKind.REFUSED
            assert caught.value.__context__ is None
        assert driving.ask(driver, "get", "first") == first
        assert driving.ask(driver, "get", "new") is None
        assert driving.ask(driver, "add", "first", second) is False
        assert "multisession.E114" in {problem.id for problem in problems_of(driver)}


@pytest.mark.parametrize(
    "option", [{"sparse": True}, {"partialFilterExpression": {"sid": {"$exists": True}}}], ids=str
)
def test_a_unique_index_that_holds_no_session_is_no_problem(
    option: dict[str, Any], driving: Driving, mongodb_standalone: MongoServer
) -> None:
    driver = driving.open(mongodb_standalone.url)
    with Looking(mongodb_standalone.url, driver) as looking:
        looking.sessions.create_index("sid", unique=True, **option)
        for key in ("first", "second"):
            assert driving.ask(driver, "add", key, record())
        assert problems_of(driver) == []


RIGHTS = re.findall(
    r"`(\w+)`",
    next(
        line
        for line in section_of(
            "reference/engines.md", "## MongoDB", "### Commands and rights"
        ).split("\n")
        if line.startswith("A user needs ")
    ).partition(" for `check")[0],
)
#: The command that is refused where a right is missing.
REFUSED = {
    "find": "find",
    "insert": "insert",
    "update": "update",
    "remove": "delete",
    "listIndexes": "listIndexes",
}


class Restricted:
    """A server whose user has the rights that a test grants."""

    def __init__(self, server: MongoServer) -> None:
        self._place = f"{server.host}:{server.port}/?directConnection=true&authSource=admin"
        with pymongo.MongoClient[dict[str, Any]](server.url) as client:
            # The first user may be created from this machine without being anybody.
            client.admin.command("createUser", "admin", pwd="secret", roles=["root"])
        with self._admin() as client:
            client.admin.command("createRole", "sessions", privileges=[], roles=[])
            client.admin.command("createUser", "site", pwd="secret", roles=["sessions"])

    def url(self, password: str = "secret") -> str:
        return f"mongodb://site:{password}@{self._place}"

    def grant(self, *rights: str) -> None:
        everywhere = {"db": DATABASE, "collection": ""}
        privileges = [{"resource": everywhere, "actions": [*rights]}]
        with self._admin() as client:
            client.admin.command("updateRole", "sessions", privileges=privileges)

    def _admin(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(f"mongodb://admin:secret@{self._place}")


@pytest.fixture
def restricted(mongodb_standalone: MongoServer, tmp_path: Path) -> Iterator[Restricted]:
    with MongoServer(mongodb_standalone.binary, tmp_path / "mongod", "--auth") as server:
        yield Restricted(server)


@pytest.mark.long
def test_a_user_who_may_not_create_indexes_has_sessions_and_a_report(
    driving: Driving, restricted: Restricted, caplog: pytest.LogCaptureFixture
) -> None:
    restricted.grant(*(right for right in RIGHTS if right != "createIndex"))
    driver = driving.open(restricted.url())
    for number in range(3):
        assert driving.ask(driver, "add", f"key-{number}", record())
    assert [entry.levelname for entry in caplog.records] == ["WARNING"] * 2
    assert {problem.id for problem in problems_of(driver)} == {"multisession.W112"}
    wrong = driving.open(restricted.url("wrong"))
    with pytest.raises(StoreUnavailable) as caught:
        driving.ask(wrong, "get", "key")
    assert caught.value.kind is OutageKind.REFUSED
    assert [problem.id for problem in wrong.check()] == ["multisession.W111"]
    assert "secret" not in caplog.text


@pytest.mark.long
def test_the_check_names_each_right_that_is_missing(restricted: Restricted) -> None:
    assert {*RIGHTS} == {*REFUSED, "createIndex"}
    with Driving("sync") as driving:
        restricted.grant(*RIGHTS)
        assert problems_of(driving.open(restricted.url())) == []
        restricted.grant(*(right for right in RIGHTS if right != "createIndex"))
        problems = problems_of(driving.open(restricted.url()))
        assert [problem.id for problem in problems] == ["multisession.W112"] * 2
        for right, command in REFUSED.items():
            restricted.grant(*(each for each in RIGHTS if each != right))
            (problem,) = problems_of(driving.open(restricted.url()))
            assert problem.id == "multisession.W111"
            assert f" refused '{command}' (Unauthorized). Give its user" in problem.message
            assert "check-" not in problem.message


@pytest.mark.long
def test_the_documented_rights_suffice_for_every_verb(
    driving: Driving, restricted: Restricted, caplog: pytest.LogCaptureFixture
) -> None:
    restricted.grant(*RIGHTS)
    driver = driving.open(restricted.url())
    assert [*run_each_verb(driving, driver)]
    assert problems_of(driver) == []
    assert caplog.records == []


def test_the_ttl_monitor_collects_what_is_over(
    mongodb_standalone: MongoServer, tmp_path: Path
) -> None:
    often = "--setParameter=ttlMonitorSleepSecs=1"
    with (
        MongoServer(mongodb_standalone.binary, tmp_path / "mongod", often) as server,
        Driving("sync") as driving,
    ):
        driver = driving.open(server.url)
        run(driver.add("over", record()))
        run(driver.add("expired by the site's clock alone", record()))
        run(driver.add("ended", record()))
        run(driver.delete("ended", make_end()))
        with Looking(server.url, driver) as looking:
            looking.sessions.update_many(
                {"_id": {"$in": ["over", "ended"]}}, {"$set": {"collect_at": to_datetime(NOW)}}
            )
            deadline = time.monotonic() + WITHIN
            while looking.sessions.count_documents({}) > 1 and time.monotonic() < deadline:
                pass
            left = [document["_id"] for document in looking.sessions.find()]
    assert left == ["expired by the site's clock alone"]


def test_check_leaves_the_indexes_alone_and_finds_a_dropped_one(
    mongodb_standalone: MongoServer,
) -> None:
    with Driving("sync") as driving:
        driver = driving.open(mongodb_standalone.url)
        with Looking(mongodb_standalone.url, driver) as looking:
            assert problems_of(driver) == []
            assert set(looking.sessions.index_information()) == INDEXES
            assert looking.sessions.count_documents({}) == 0
            looking.sessions.drop_index("user_id_1__id_1")
            assert [problem.id for problem in problems_of(driver)] == ["multisession.W112"]


def test_check_reports_an_old_server(
    monkeypatch: pytest.MonkeyPatch, mongodb_standalone: MongoServer
) -> None:
    monkeypatch.setattr(mongodb_checks, "OLDEST_VERSION", (99, 0))
    monkeypatch.setattr(mongodb_checks, "OLDEST_WIRE_VERSION", 99)
    with Driving("sync") as driving:
        problems = driving.open(mongodb_standalone.url).check()
    assert [problem.id for problem in problems] == ["multisession.E113"]
    assert problems[0].message.startswith("MongoDB must be 99.0 or newer (got ")


def test_check_names_a_release_with_a_known_hole(mongodb_standalone: MongoServer) -> None:
    with Driving("sync") as driving:
        driver = driving.open(mongodb_standalone.url)
        problems = [each for each in driver.check() if each.id == "multisession.W115"]
    with pymongo.MongoClient[dict[str, Any]](mongodb_standalone.url) as client:
        version = client.server_info()["version"]
    fixed = releases.fix_for(tuple(map(int, version.split("."))), releases.MONGODB)
    if fixed is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.message.startswith(f"MongoDB {version} has CVE-2025-14847. ")
        assert problem.hint == f"Upgrade the server to {'.'.join(map(str, fixed))} or later."


@for_each(
    ("version", "fixed"),
    [
        ((5, 0, 31), (5, 0, 32)),
        ((5, 0, 32), None),
        ((6, 0, 5), (6, 0, 27)),
        ((7, 0, 28), None),
        # Series that got no fix are left for the next one.
        ((6, 3, 2), (7, 0, 28)),
        ((8, 1, 2), (8, 2, 3)),
        ((8, 0, 16), (8, 0, 17)),
        ((8, 0, 17), None),
        ((8, 2, 2), (8, 2, 3)),
        ((8, 2, 3), None),
        ((9, 0, 0), None),
    ],
)
def test_a_hole_is_closed_from_the_fix_of_a_series_on(
    version: releases.Version, fixed: releases.Version | None
) -> None:
    assert releases.fix_for(version, releases.MONGODB) == fixed


def test_a_page_reads_the_documents_of_the_user_alone_and_sorts_nothing(
    mongodb_server: MongoServer | MongoReplicaSet,
) -> None:
    with Driving("sync") as driving:
        driver = driving.open(mongodb_server.url)
        for number in range(9):
            run(driver.add(f"key-{number}", record(user_id="ada")))
        with Looking(mongodb_server.url, driver) as looking:
            document = looking.sessions.find_one({"_id": "key-0"})
            assert document is not None
            looking.sessions.insert_many(
                {**document, "_id": f"key-3-{number}", "user_id": f"user-{number}"}
                for number in range(500)
            )
            selection = documents.of_user("ada", NOW, "key-3")
            plan = looking.sessions.find(selection).sort("_id", 1).limit(2).explain()
            assert len(run(driver.of_user("ada", NOW)).records) == 9
    assert plan["executionStats"]["totalKeysExamined"] == 2
    assert "SORT" not in str(plan["queryPlanner"]["winningPlan"])
