"""Documents as others left them: nothing raises, and no write goes where it should not.

One mongod will do: conditions do not depend on replication.
"""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from bson import Binary, Int64, MaxKey, Regex
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from servers import MongoServer

from django_multisession.core.records import (
    LONGEST_AGE,
    MISSING,
    NEVER,
    SAVED,
    Answer,
    Outcome,
    Reason,
    Record,
    Tombstone,
    Unreadable,
    decode,
)
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import left_by, make_end
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write
from tests.drivers.mongodb_driving import DATABASE, HOUR, NOW, Driving, Looking, record

DATE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Iterator[Driving]:
    with Driving(request.param) as driving:
        yield driving


@pytest.fixture
def driver(driving: Driving, mongodb_standalone: MongoServer) -> MongoDBDriver:
    return driving.open(mongodb_standalone.url)


@pytest.fixture
def looking(driver: MongoDBDriver, mongodb_standalone: MongoServer) -> Iterator[Looking]:
    with Looking(mongodb_standalone.url, driver) as looking:
        set_parameter = functools.partial(looking.client.admin.command, "setParameter", 1)
        # Tests here date documents back, and the server would remove them once a minute.
        set_parameter(ttlMonitorEnabled=False)
        yield looking
        set_parameter(ttlMonitorEnabled=True)


def as_bytes(looking: Looking, key: str = "key") -> bytes:
    """Return what stands under *key*; PyMongo cannot decode everything that a test puts there."""
    # Typed as if it decoded them.
    return b"".join(cast("Any", looking.sessions.find_raw_batches({"_id": key})))


def spoil(looking: Looking, changes: dict[str, Any]) -> None:
    """Change fields of what stands under "key"; ``...`` removes one."""
    update = {
        "$set": {name: value for name, value in changes.items() if value is not ...},
        "$unset": {name: "" for name, value in changes.items() if value is ...},
    }
    looking.sessions.update_one({"_id": "key"}, {name: of for name, of in update.items() if of})


MALFORMED: dict[str, dict[str, Any]] = {
    "no record": {"record": ...},
    "record is text": {"record": "sealed"},
    "record is null": {"record": None},
    "record is a number": {"record": -1},
    "record is a list": {"record": [b"sealed"]},
    "record is a reference": {"record": {"$ref": 1, "$id": 2}},
    "record is empty": {"record": b""},
    "record is something else": {"record": b"sealed"},
    "record is of a user's kind": {"record": Binary(b"sealed", 128)},
    "record is a UUID": {"record": Binary(bytes(16), 4)},
}


@pytest.fixture(params=MALFORMED.values(), ids=list(MALFORMED))
def base(
    request: pytest.FixtureRequest, driving: Driving, driver: MongoDBDriver, looking: Looking
) -> Record:
    """What stood under "key" before its bytes were spoiled; the other fields are its own."""
    base = record(payload=b"sealed")
    driving.ask(driver, "add", "key", base)
    spoil(looking, request.param)
    return base


def test_a_malformed_document_is_no_session_and_one_log_line(
    driving: Driving, driver: MongoDBDriver, base: Record, caplog: pytest.LogCaptureFixture
) -> None:
    assert driving.ask(driver, "get", "key") is None
    assert [entry.name for entry in caplog.records] == ["django.security.SuspiciousSession"]
    assert "sealed" not in caplog.text


def test_no_write_but_delete_changes_a_malformed_document(
    driving: Driving, driver: MongoDBDriver, base: Record, looking: Looking
) -> None:
    before = as_bytes(looking)
    new, end = next_write(base), make_end()
    left, claimed = left_by(new, "new"), Tombstone(base.revision, Reason.ENDED)
    assert driving.ask(driver, "replace", "key", new, base, NOW) == MISSING
    assert driving.ask(driver, "move", "key", "new", new, base, left, NOW) == MISSING
    assert driving.ask(driver, "move", "key", "new", new, claimed, left, NOW) == MISSING
    assert driving.ask(driver, "get", "new") is None
    assert driving.ask(driver, "touch", "key", base, NOW + HOUR // 2, NOW) == MISSING
    assert driving.ask(driver, "retire", "key", base, end, NOW, NEVER) == MISSING
    assert driving.ask(driver, "retire", "key", claimed, end, NOW, NEVER) == MISSING
    driving.ask(driver, "withdraw", "key", base)
    assert driving.ask(driver, "add", "key", new) is False
    assert as_bytes(looking) == before
    assert driving.ask(driver, "delete", "key", end) is True
    assert driving.ask(driver, "get", "key") == end


@pytest.mark.parametrize(
    "changes",
    [{"record": b"\xd5\x01\x02"}, {"record": b""}, {"record": 1}, {"record": ...}],
    ids=["head", "empty", "number", "nothing"],
)
def test_a_malformed_tombstone_is_no_session_and_stays_as_it_is(
    changes: dict[str, Any],
    driving: Driving,
    driver: MongoDBDriver,
    looking: Looking,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base, end = record(), make_end()
    driving.ask(driver, "add", "key", base)
    driving.ask(driver, "delete", "key", end)
    spoil(looking, changes)
    before = as_bytes(looking)
    assert driving.ask(driver, "get", "key") is None
    assert [entry.name for entry in caplog.records] == ["django.security.SuspiciousSession"]
    assert driving.ask(driver, "replace", "key", record(), base, NOW) == MISSING
    assert driving.ask(driver, "retire", "key", end, make_end(), NOW, NEVER) == MISSING
    assert driving.ask(driver, "add", "key", record()) is False
    assert driving.ask(driver, "delete", "key", make_end()) is False
    assert as_bytes(looking) == before


def test_a_document_that_pymongo_cannot_decode_is_no_session(
    driving: Driving, driver: MongoDBDriver, looking: Looking, caplog: pytest.LogCaptureFixture
) -> None:
    # Binary of the old subtype 2, whose inner length is missing.
    field = b"\x05record\0\x03\0\0\0\x02abc"
    body = b"\x02_id\0\x04\0\0\0key\0" + field + b"\0"
    document = RawBSONDocument((len(body) + 4).to_bytes(4, "little") + body)
    looking.client[DATABASE].command("insert", looking.sessions.name, documents=[document])
    assert driving.ask(driver, "get", "key") is None
    assert [entry.name for entry in caplog.records] == ["django.security.SuspiciousSession"]
    assert driving.ask(driver, "replace", "key", record(), record(), NOW) == MISSING
    assert driving.ask(driver, "delete", "key", make_end()) is True


# Fields that disagree with the bytes

VALUES: list[Any] = [
    ...,
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    NOW,
    NEVER,
    Int64(2**63 - 1),
    Int64(-(2**63)),
    "",
    "$$ROOT",
    b"",
    b"\xd5\x01\x02",
    [],
    [NOW - HOUR, NOW + HOUR],
    {},
    {"$gt": 0},
    DATE,
    DatetimeMS(2**63 - 1),
    DatetimeMS(-(2**63)),
    Regex(".*"),
    MaxKey(),
]
BESIDE = ("ends_ms", "touched_ms", "user_id", "collect_at", "is_tombstone", "other")


def spoiled(bytes_of: bytes, chance: random.Random) -> bytes:
    """Return *bytes_of*, changed as only someone who writes to the store can."""
    raw, at = bytearray(bytes_of), chance.randrange(len(bytes_of))
    match chance.randrange(5):
        case 0:
            raw[at] ^= 1 << chance.randrange(8)
        case 1:
            del raw[at:]
        case 2:
            del raw[at]
        case 3:
            raw.insert(at, chance.randrange(256))
        case _:
            # Where something is compared.
            at = chance.choice((0, 1, 2, 3, 10, 11, 18, 51, 58, 59, 82)) % len(raw)
            raw[at] = chance.randrange(256)
    return bytes(raw)


def mutation(document: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Return changes to one or two fields of *document*."""
    changes: dict[str, Any] = {}
    for _ in range(chance.choice((1, 1, 2))):
        if chance.random() < 0.5:
            changes["record"] = spoiled(document["record"], chance)
        elif chance.random() < 0.1:
            changes["record"] = chance.choice(VALUES)
        else:
            changes[chance.choice(BESIDE)] = chance.choice(VALUES)
    return changes


def reading(document: dict[str, Any]) -> Record | Tombstone | type[StoreUnavailable] | None:
    """Return what is to be found in *document*."""
    try:
        raw = document.get("record")
        return decode(raw) if isinstance(raw, bytes) else None
    except Unreadable:
        return None
    except StoreUnavailable:
        return StoreUnavailable


def asked(ask: Callable[[], Any]) -> Any:
    """Return the answer, or that there was none; anything else is raised."""
    try:
        return ask()
    except StoreUnavailable as outage:
        # Not any: what a newer release wrote, and no error of the server's.
        if outage.kind is not OutageKind.UNKNOWN_FORMAT:
            raise
        return StoreUnavailable


@pytest.mark.long
@for_each("seed", range(10))
@for_each("is_ended", [False, True])
def test_whatever_is_changed_nothing_raises_and_no_write_goes_over_something_else(
    seed: int, driving: Driving, driver: MongoDBDriver, looking: Looking, *, is_ended: bool
) -> None:
    chance = random.Random(f"{seed} {is_ended} {driving.way}")
    for number in range(25):
        looking.sessions.delete_many({})
        first, end = record(), make_end()
        driving.ask(driver, "add", "key", first)
        if is_ended:
            driving.ask(driver, "delete", "key", end)
        original = looking.document("key")
        assert original is not None
        changes = mutation(original, chance)
        spoil(looking, changes)
        stored = {name: of for name, of in (original | changes).items() if of is not ...}
        expected, before = reading(stored), as_bytes(looking)
        found = asked(functools.partial(driving.ask, driver, "get", "key"))
        assert found == expected, changes
        base: Record | Tombstone = end if is_ended else first
        new = next_write(first)
        left = left_by(new, "new")
        verb, arguments = [
            ("replace", ("key", new, first, NOW)),
            ("touch", ("key", first, NOW + 1, NOW)),
            ("retire", ("key", base, left, NOW, NEVER)),
            ("move", ("key", "new", new, base, left, NOW)),
        ][number % 4]
        answer = asked(functools.partial(driving.ask, driver, verb, *arguments))
        after = as_bytes(looking)
        # The bytes say what may be written over; the fields beside them may only forbid it.
        is_base = isinstance(stored.get("record"), bytes) and (
            stored["record"][:3] + stored["record"][51:59] == base.raw[:3] + base.revision
        )
        is_allowed = is_base and (isinstance(base, Record) or verb in {"retire", "move"})
        if answer != SAVED:
            assert after == before, changes
            assert driving.ask(driver, "get", "new") is None
        elif after != before:
            assert is_allowed, changes
            written = driving.ask(driver, "get", "key")
            assert (
                written
                == {
                    "replace": new,
                    "touch": changed(first, touched_ms=NOW + 1),
                    "retire": left,
                    "move": left,
                }[verb]
            )
        assert (
            asked(functools.partial(driving.ask, driver, "delete", "key", make_end())) is not None
        )


def test_a_field_that_disagrees_forbids_a_write_and_changes_no_reading(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    for changes in (
        {"ends_ms": NOW},
        {"ends_ms": ...},
        {"ends_ms": "text"},
        {"touched_ms": NOW + 1},
        {"touched_ms": ...},
        {"touched_ms": DATE},
    ):
        looking.sessions.delete_many({})
        first = record()
        driving.ask(driver, "add", "key", first)
        spoil(looking, changes)
        before = as_bytes(looking)
        assert driving.ask(driver, "get", "key") == first
        answer = driving.ask(driver, "replace", "key", next_write(first), first, NOW)
        assert answer == MISSING
        assert as_bytes(looking) == before


LIVES: dict[str, dict[str, Any]] = {
    "idle": {},
    "hard only": {"idle_ms": NEVER},
    "idle only": {"deadline_ms": NEVER},
    "endless": {"idle_ms": NEVER, "deadline_ms": NEVER},
    "hard first": {"deadline_ms": NOW + HOUR // 4},
    "over already": {"deadline_ms": NOW - HOUR},
    "negative": {"idle_ms": -5000},
    "zero": {"idle_ms": 0},
    "past the calendar": {"idle_ms": LONGEST_AGE * 1000, "deadline_ms": NEVER},
    "before the calendar": {"idle_ms": -LONGEST_AGE * 1000, "deadline_ms": NEVER},
}


@for_each("life", LIVES.values())
@for_each("now", [NOW, NOW + HOUR // 4, NOW + HOUR, NOW + 25 * HOUR])
def test_the_server_and_the_record_agree_on_when_it_ends(
    life: dict[str, Any],
    now: int,
    driving: Driving,
    driver: MongoDBDriver,
    looking: Looking,
) -> None:
    stored, key = record(**life), uuid.uuid4().hex
    driving.ask(driver, "add", key, stored)
    answer = driving.ask(driver, "touch", key, stored, NOW + HOUR // 8, now)
    assert answer == (SAVED if stored.is_live(now) else MISSING)
    found = driving.ask(driver, "get", key)
    document = looking.document(key)
    assert isinstance(found, Record)
    assert document is not None
    assert document["ends_ms"] == found.ends_ms
    theirs = record()
    answer = driving.ask(driver, "replace", key, theirs, theirs, now)
    assert answer == (Answer(Outcome.CONFLICT, found) if found.is_live(now) else MISSING)
