"""A replica set whose primary goes, under load: nothing that was acknowledged is lost or comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from servers import MongoReplicaSet, MongoServer

from django_multisession.core.records import SAVED, Record, Stored, Tombstone
from django_multisession.drivers import base
from django_multisession.drivers.mongodb import documents as mongodb_documents
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.testing.driver.fixtures import left_by, make_end
from django_multisession.testing.stored_records import next_write
from tests.drivers.mongodb_driving import NOW, record
from tests.faults.mongodb_election import STRIKES, Admin, endure, primary_of
from tests.faults.mongodb_site import DATABASE, only_reads, site
from tests.wire.visitor import Visitor

pytestmark = pytest.mark.once

WITHIN = 60.0


@pytest.fixture(scope="module")
def every_member(
    mongodb_standalone: MongoServer,
) -> Iterator[MongoReplicaSet]:
    with (
        tempfile.TemporaryDirectory(prefix="multisession-") as place,
        MongoReplicaSet(mongodb_standalone.binary, Path(place)) as servers,
    ):
        yield servers
        # Asked to stop, each would look for another primary.
        for member in servers.members:
            member.kill()


@pytest.fixture
def servers(every_member: MongoReplicaSet) -> MongoReplicaSet:
    """Whole, whatever a test did to it before."""
    return every_member.start()


@pytest.mark.long
@pytest.mark.parametrize(
    ("strike", "on_outage"),
    [("stepped down", "error"), ("killed", "anonymous")],
)
def test_an_election_under_load_loses_no_acknowledged_save_and_revives_no_logout(
    strike: str, on_outage: str, servers: MongoReplicaSet
) -> None:
    figures = endure(servers, STRIKES[strike], on_outage=on_outage, visitors=2, saves_before=10)
    assert figures.wrongs == {}
    # That it had something to lose: each visitor's 10 and 5, and 2 during the strike.
    assert figures.saves >= 4 * 17
    assert figures.logouts > 0


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One verb that writes, on a session of its own.

    Attributes:
        arguments: Of the verb.
        key: Where it can be seen that the primary has made it.
        is_made: Tells so of what is there.
        answer: What it must be answered, if that is sure.
    """

    verb: str
    arguments: tuple[Any, ...]
    key: str
    is_made: Callable[[Stored], bool]
    answer: Any


def writes(prefix: str, first: Record) -> list[Write]:
    second = next_write(first)

    def is_second(found: Stored) -> bool:
        return isinstance(found, Record) and found.revision == second.revision

    def is_tombstone(found: Stored) -> bool:
        return isinstance(found, Tombstone)

    add, replace, move, delete = (
        f"{prefix}-{verb}" for verb in ("add", "replace", "move", "delete")
    )
    end = make_end()
    left = left_by(second, f"{move}-new")
    return [
        Write("add", (add, first), add, lambda found: found is not None, True),
        Write("replace", (replace, second, first, NOW), replace, is_second, SAVED),
        Write("move", (move, f"{move}-new", second, first, left, NOW), move, is_tombstone, SAVED),
        Write("delete", (delete, end), delete, is_tombstone, True),
    ]


@pytest.mark.long
@pytest.mark.parametrize("strike", ["stepped down", "killed"])
def test_a_write_that_an_election_interrupts_is_made_once(
    strike: str, servers: MongoReplicaSet
) -> None:
    """No majority has it yet, because the others are paused."""
    options: dict[str, Any] = {
        "URI": servers.url,
        "DATABASE": DATABASE,
        "COLLECTION": f"interrupted_{strike.split(maxsplit=1)[0]}",
        # There is one more attempt, in which another primary must be found.
        "timeoutMS": 60000,
        "serverSelectionTimeoutMS": 60000,
    }
    driver = MongoDBDriver(options, time.time)
    primary = primary_of(servers)
    others = [member for member in servers.members if member is not primary]
    first = record()
    every = [write for prefix in ("sync", "async") for write in writes(prefix, first)]
    for write in every:
        if write.verb != "add":
            base.run(driver.add(write.key, first))
    loop_began = threading.Event()

    async def ask_all() -> list[Any]:
        await base.arun(driver.get("warm-up"))
        loop_began.set()
        asking = (base.arun(getattr(driver, write.verb)(*write.arguments)) for write in every[4:])
        return await asyncio.gather(*asking)

    with ExitStack() as stack, ThreadPoolExecutor(5) as threads:
        at_primary = stack.enter_context(Admin(primary.url, tz_aware=True))
        for member in others:
            member.pause()
            stack.callback(member.resume)
        own: list[Future[Any]] = [
            threads.submit(base.run, getattr(driver, write.verb)(*write.arguments))
            for write in every[:4]
        ]
        in_loop = threads.submit(asyncio.run, ask_all())
        assert loop_began.wait(WITHIN)
        collection = at_primary[DATABASE][options["COLLECTION"]]
        _wait_until(lambda: all(_is_made(collection, write) for write in every))
        # The others cannot follow: a plain stepping down would wait for them.
        if strike == "killed":
            primary.kill()
        else:
            at_primary.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=0, force=True)
        for member in others:
            member.resume()
        answers = [future.result() for future in own] + in_loop.result()
        assert answers == [write.answer for write in every]
        servers.start()
        for write in every:
            assert write.is_made(base.run(driver.get(write.key)))
            kept = base.run(driver.get(f"{write.key}-new")) or base.run(driver.get(write.key))
            if write.verb != "delete":
                assert isinstance(kept, Record)
                assert len(kept.revisions) == (1 if write.verb == "add" else 2)
        driver.close()


@pytest.mark.long
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_secondary_asked_by_its_own_address_serves_only_the_pages_that_read(
    *, is_async: bool, servers: MongoReplicaSet
) -> None:
    visitor = Visitor(is_async=is_async)

    async def walk(collection: str) -> None:
        await visitor.begin("first")
        secondary = next(member for member in servers.members if member.hello()["secondary"])
        with Admin(secondary.url) as client:
            _wait_until(lambda: client[DATABASE][collection].find_one() is not None)
        with site(secondary.url, {"COLLECTION": collection}):
            await only_reads(visitor)

    with site(servers.url) as collection:
        visitor.run(walk(collection))


def _is_made(collection: Any, write: Write) -> bool:
    raw = mongodb_documents.bytes_of(collection.find_one({"_id": write.key}))
    return write.is_made(base.read(write.key, raw))


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
