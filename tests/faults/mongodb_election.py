"""What an election costs visitors who save all the while, in a replica set of three real members."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pymongo
from servers import MongoReplicaSet, MongoServer

from tests.faults.mongodb_load import Load, look_for_the_ended
from tests.faults.mongodb_site import site

DEADLINE_SECONDS = 90

Admin = pymongo.MongoClient[dict[str, Any]]
Strike = Callable[[MongoServer], AbstractContextManager[None]]


@contextmanager
def stepped_down(primary: MongoServer) -> Iterator[None]:
    """As an administrator does before maintenance; the member goes on as a secondary."""
    with Admin(primary.url) as client:
        client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=4)
    yield


@contextmanager
def killed(primary: MongoServer) -> Iterator[None]:
    """Started again later, it has to give up what it had not passed on."""
    primary.kill()
    try:
        yield
    finally:
        primary.start()


@contextmanager
def paused(primary: MongoServer) -> Iterator[None]:
    """When it goes on, it takes itself for the primary still."""
    primary.pause()
    try:
        yield
    finally:
        primary.resume()


STRIKES: dict[str, Strike] = {"stepped down": stepped_down, "killed": killed, "paused": paused}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What an election cost.

    Attributes:
        saves: How many were acknowledged.
        refused: How many requests were answered 503, of every kind.
        refused_saves: How many of them were saves.
        moved: How many logins were refused of which the store had everything but its answer.
        logouts: How many were acknowledged.
        election: Seconds until another member said that it takes writes.
        seconds: The longest time in which no save of anybody was acknowledged.
        seconds_for_everybody: Until everybody had saved again.
        slowest: What one request took at most.
        wrongs: What must not have happened, and did.
    """

    saves: int
    refused: int
    refused_saves: int
    moved: int
    logouts: int
    election: float
    seconds: float
    seconds_for_everybody: float
    slowest: float
    wrongs: dict[str, int]


def endure(
    servers: MongoReplicaSet,
    strike: Strike,
    *,
    on_outage: str = "error",
    visitors: int = 4,
    saves_before: int = 20,
) -> Figures:
    """Strike the primary under load, wait for the next one and for the whole set; count.

    Args:
        servers: Whole, before and afterwards.
        visitors: In threads, and as many in tasks of one event loop.
        saves_before: Of each visitor; half as many when the set is whole again.
    """
    with site(servers.url, MULTISESSION_ON_OUTAGE=on_outage):
        with Load(threads=visitors, tasks=visitors) as load:
            load.wait_for_saves(saves_before)
            struck = primary_of(servers)
            struck_at = time.monotonic()
            with strike(struck):
                wait_for_another_primary(servers, struck)
                elected_at = time.monotonic()
                load.wait_for_saves(2, since=time.monotonic())
            # Not before it has met the others: until then it may take itself for the primary.
            servers.start()
            load.wait_for_saves(saves_before // 2, since=time.monotonic())
        look_for_the_ended(load)
    saves = sorted(
        (save for one in load.regulars for save in one.notes.saves),
        key=lambda save: save.answered_at,
    )
    after = [save.answered_at for save in saves if save.answered_at >= struck_at]
    gaps = [(end - start, end) for start, end in zip([struck_at, *after], after, strict=False)]
    seconds, back_at = max(gaps)
    everybody_at = max(
        min(save.answered_at for save in one.notes.saves if save.answered_at >= back_at)
        for one in load.regulars
    )
    answers = load.answers
    return Figures(
        saves=len(saves),
        refused=sum(times for what, times in answers.items() if what.endswith(" 503")),
        refused_saves=answers["append 503"],
        moved=answers["refused login had moved"],
        logouts=answers["log_out 200"],
        election=elected_at - struck_at,
        seconds=seconds,
        seconds_for_everybody=everybody_at - back_at + seconds,
        slowest=max(one.notes.slowest for one in load.regulars),
        wrongs=load.wrongs,
    )


def primary_of(servers: MongoReplicaSet) -> MongoServer:
    """Return the primary of a set that is whole."""
    found = servers.primary
    assert found is not None, "a set that is whole has a primary"
    return found


def wait_for_another_primary(servers: MongoReplicaSet, struck: MongoServer) -> None:
    """Wait until one of the members that were not struck takes writes."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    others = [member for member in servers.members if member is not struck]
    while not any(member.hello().get("isWritablePrimary") for member in others):
        assert time.monotonic() < deadline, "another member must become primary"
        time.sleep(0.02)


def reconfigure(servers: MongoReplicaSet, times: dict[str, int]) -> None:
    """Give the set other times, as an administrator does."""
    with Admin(primary_of(servers).url) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config["settings"] |= times
        config["version"] += 1
        client.admin.command("replSetReconfig", config)
