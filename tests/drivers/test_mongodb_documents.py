"""Documents as others left them: the server's conditions and our reading agree, and none fails.

One mongod will do: expressions do not depend on replication.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

import pytest
from bson import Int64, Regex
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from servers import MongoServer

from django_multisession.core.records import LONGEST_AGE, MISSING, SAVED, Reason, Record, Tombstone
from django_multisession.drivers.mongodb import MongoDBDriver
from django_multisession.testing.driver_fixtures import left_by, make_end
from tests.drivers.mongodb_driving import DATABASE, HOUR, NOW, Driving, Looking, record


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
        yield looking


MALFORMED: dict[str, Any] = {
    "empty": None,
    "no payload": {"payload": ...},
    "payload is text": {"payload": "sealed"},
    "payload is a reference": {"payload": {"$ref": 1, "$id": 2}},
    "no revisions": {"revisions": ...},
    "revisions is text": {"revisions": "r"},
    "revisions is empty": {"revisions": []},
    "a revision is a number": {"revisions": ["r", 1]},
    "no created_at": {"created_at": ...},
    "began_at is null": {"began_at": None},
    "touched_at is text": {"touched_at": "2020-01-01"},
    "touched_at is a list of dates": {"touched_at": [NOW]},
    "touched_at is after the calendar": {"touched_at": DatetimeMS(2**63 - 1)},
    "touched_at is before the calendar": {"touched_at": DatetimeMS(-(2**63))},
    "touched_at is just after the calendar": {"touched_at": DatetimeMS(253402300800000)},
    "hard_deadline_at is after the calendar": {"hard_deadline_at": DatetimeMS(2**62)},
    "hard_deadline_at is a regex": {"hard_deadline_at": Regex(".*")},
    "no hard_deadline_at": {"hard_deadline_at": ...},
    "idle_age is a fraction": {"idle_age": 3600.5},
    "idle_age is true": {"idle_age": True},
    "idle_age is a list": {"idle_age": [1]},
    "no idle_age": {"idle_age": ...},
    "idle_age is past the calendar": {"idle_age": LONGEST_AGE + 1},
    "idle_age is far past the calendar": {"idle_age": 2**62},
    "idle_age is before the calendar": {"idle_age": -LONGEST_AGE - 1},
    "user_id is a number": {"user_id": 7},
    "no user_id": {"user_id": ...},
    "tombstone is a number": {"tombstone": 1},
    "tombstone is null": {"tombstone": None},
}


@pytest.fixture(params=MALFORMED.values(), ids=list(MALFORMED))
def malformed(
    request: pytest.FixtureRequest, driving: Driving, driver: MongoDBDriver, looking: Looking
) -> dict[str, Any]:
    """What stands under "key": at revision "r", but for one field a live record."""
    driving.ask(driver, "add", "key", record(payload=b"sealed", revisions=("r",)))
    changes = request.param
    document = looking.document("key")
    assert document is not None
    document |= changes or {}
    document = {
        name: value
        for name, value in document.items()
        if name == "_id" or (changes is not None and value is not ...)
    }
    looking.sessions.replace_one({"_id": "key"}, document)
    return document


def as_bytes(looking: Looking) -> bytes:
    """Return what stands under "key"; PyMongo cannot decode every one of `MALFORMED`."""
    # Typed as if it decoded them.
    return cast("bytes", next(looking.sessions.find_raw_batches({"_id": "key"})))


def test_a_malformed_document_is_no_session_and_one_log_line(
    driving: Driving,
    driver: MongoDBDriver,
    malformed: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert driving.ask(driver, "get", "key") is None
    assert [entry.name for entry in caplog.records] == ["django.security.SuspiciousSession"]
    assert "sealed" not in caplog.text


def test_no_write_but_delete_changes_a_malformed_document(
    driving: Driving, driver: MongoDBDriver, malformed: dict[str, Any], looking: Looking
) -> None:
    before = as_bytes(looking)
    base, new, end = record(revisions=("r",)), record(revisions=("s", "r")), make_end()
    left, claimed = left_by(new, "new"), Tombstone("r", Reason.ENDED)
    assert driving.ask(driver, "replace", "key", new, base, NOW) == MISSING
    assert driving.ask(driver, "move", "key", "new", new, base, left, NOW) == MISSING
    assert driving.ask(driver, "move", "key", "new", new, claimed, left, NOW) == MISSING
    assert driving.ask(driver, "get", "new") is None
    assert driving.ask(driver, "touch", "key", base, NOW + HOUR / 2, NOW) == MISSING
    assert as_bytes(looking) == before
    assert driving.ask(driver, "delete", "key", end) is True
    assert driving.ask(driver, "get", "key") == end


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "another"},
        {"reason": 1},
        {"reason": None},
        {"successor": 1},
        {"successor": None},
    ],
)
def test_a_malformed_tombstone_is_no_session_and_stays_as_it_is(
    changes: dict[str, Any],
    driving: Driving,
    driver: MongoDBDriver,
    looking: Looking,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = record()
    driving.ask(driver, "add", "key", base)
    driving.ask(driver, "delete", "key", make_end())
    looking.sessions.update_one({"_id": "key"}, {"$set": changes})
    before = as_bytes(looking)
    assert driving.ask(driver, "get", "key") is None
    assert [entry.name for entry in caplog.records] == ["django.security.SuspiciousSession"]
    assert driving.ask(driver, "replace", "key", record(), base, NOW) == MISSING
    assert driving.ask(driver, "add", "key", record()) is False
    assert driving.ask(driver, "delete", "key", make_end()) is False
    assert as_bytes(looking) == before


def test_a_document_that_pymongo_cannot_decode_is_no_session(
    driving: Driving, driver: MongoDBDriver, looking: Looking, caplog: pytest.LogCaptureFixture
) -> None:
    # Binary of the old subtype 2, whose inner length is missing.
    payload = b"\x05payload\0\x03\0\0\0\x02abc"
    body = b"\x02_id\0\x04\0\0\0key\0" + payload + b"\0"
    document = RawBSONDocument((len(body) + 4).to_bytes(4, "little") + body)
    looking.client[DATABASE].command("insert", looking.sessions.name, documents=[document])
    assert driving.ask(driver, "get", "key") is None
    assert [entry.name for entry in caplog.records] == ["django.security.SuspiciousSession"]
    assert driving.ask(driver, "replace", "key", record(), record(), NOW) == MISSING
    assert driving.ask(driver, "delete", "key", make_end()) is True


LIVES: dict[str, dict[str, Any]] = {
    "idle": {},
    "idle number is wide": {"idle_age": Int64(3600)},
    "hard only": {"idle_age": None},
    "idle only": {"hard_deadline_at": None},
    "endless": {"idle_age": None, "hard_deadline_at": None},
    "hard first": {"hard_deadline_at": NOW + HOUR / 4},
    "over already": {"hard_deadline_at": NOW - HOUR},
    "negative": {"idle_age": -5},
    "zero": {"idle_age": 0},
    "past the calendar": {"idle_age": LONGEST_AGE, "hard_deadline_at": None},
    "before the calendar": {"idle_age": -LONGEST_AGE, "hard_deadline_at": None},
}


@pytest.mark.parametrize("life", LIVES.values(), ids=list(LIVES))
@pytest.mark.parametrize("now", [NOW, NOW + HOUR / 4, NOW + HOUR, NOW + 25 * HOUR])
def test_the_server_and_the_record_agree_on_when_it_ends(
    life: dict[str, Any],
    now: datetime,
    driving: Driving,
    driver: MongoDBDriver,
    looking: Looking,
) -> None:
    stored = record(**life)
    driving.ask(driver, "add", "key", stored)
    answer = driving.ask(driver, "touch", "key", stored, NOW + HOUR / 8, now)
    assert answer == (SAVED if stored.is_live(now) else MISSING)
    found = driving.ask(driver, "get", "key")
    document = looking.document("key")
    assert isinstance(found, Record)
    assert document is not None
    assert document["expires_at"] == found.expires_at
