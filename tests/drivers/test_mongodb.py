"""What is special to MongoDB in storing records; the contract itself is tested for every driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pymongo.server_api import ServerApi
from servers import MongoReplicaSet, MongoServer

from django_multisession.core.records import (
    MISSING,
    NEVER,
    SAVED,
    Answer,
    Outcome,
    Reason,
    Tombstone,
)
from django_multisession.drivers.mongodb.driver import MongoDBDriver
from django_multisession.testing.driver.fixtures import left_by, make_end
from django_multisession.testing.stored_records import changed, next_write
from tests.drivers.mongodb_driving import (
    HOUR,
    NOW,
    Commands,
    Driving,
    Looking,
    record,
)
from tests.drivers.problems import problems_of
from tests.proxy import TCPProxy

COMMANDS = {
    "add": "insert",
    "get": "find",
    "replace": "update",
    "move": "update",
    "claim": "update",
    "touch": "update",
    "retire": "update",
    "withdraw": "delete",
    "delete": "findAndModify",
    "second delete": "findAndModify",
}
GREATEST_PAYLOAD = 16 * 1024 * 1024 - 64 * 1024 + 64


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Iterator[Driving]:
    with Driving(request.param) as driving:
        yield driving


@pytest.fixture
def driver(driving: Driving, mongodb_server: MongoServer | MongoReplicaSet) -> MongoDBDriver:
    return driving.open(mongodb_server.url)


@pytest.fixture
def looking(
    driver: MongoDBDriver, mongodb_server: MongoServer | MongoReplicaSet
) -> Iterator[Looking]:
    with Looking(mongodb_server.url, driver) as looking:
        yield looking


def run_each_verb(driving: Driving, driver: MongoDBDriver) -> Iterator[str]:
    """Let every verb succeed once, naming it when it is done."""
    first = record()
    second = next_write(first)
    third = next_write(second)
    claiming = record()
    left, end = left_by(third, "new"), make_end()
    claimed = left_by(claiming, "claimed")
    steps: list[tuple[str, tuple[Any, ...], Any]] = [
        ("add", ("old", first), True),
        ("get", ("old",), first),
        ("replace", ("old", second, first, NOW), SAVED),
        ("move", ("old", "new", third, second, left, NOW), SAVED),
        ("touch", ("new", third, NOW + HOUR // 2, NOW), SAVED),
        ("delete", ("new", end), True),
        ("second delete", ("new", make_end()), end),
        ("claim", ("new", "claimed", claiming, end, claimed, NOW), SAVED),
        ("retire", ("claimed", claiming, make_end(), NOW, NEVER), SAVED),
        ("withdraw", ("nothing", first), None),
    ]
    for name, arguments, expected in steps:
        verb = "move" if name == "claim" else name.split()[-1]
        assert driving.ask(driver, verb, *arguments) == expected
        yield name


def test_every_verb_is_one_command(
    driving: Driving, mongodb_server: MongoServer | MongoReplicaSet
) -> None:
    commands = Commands()
    driver = driving.open(mongodb_server.url, event_listeners=[commands])
    driving.ask(driver, "get", "warm-up")
    commands.sent.clear()
    for verb in run_each_verb(driving, driver):
        assert commands.names == [COMMANDS[verb]]
        commands.sent.clear()


@pytest.mark.parametrize(
    "options",
    [
        {"server_api": ServerApi("1", strict=True, deprecation_errors=True)},
        {"readConcernLevel": "linearizable"},
        {"readConcernLevel": "snapshot"},
    ],
    ids=["strict", "linearizable", "snapshot"],
)
def test_every_verb_and_the_check_work_under_other_options(
    options: dict[str, Any],
    driving: Driving,
    mongodb_server: MongoServer | MongoReplicaSet,
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = driving.open(mongodb_server.url, **options)
    assert set(run_each_verb(driving, driver)) == set(COMMANDS)
    assert problems_of(driver) == []
    assert caplog.records == []


def test_every_verb_is_one_round_trip_on_the_wire(
    driving: Driving, mongodb_standalone: MongoServer
) -> None:
    with TCPProxy(mongodb_standalone.host, mongodb_standalone.port) as proxy:
        driver = driving.open(f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true")
        driving.ask(driver, "get", "warm-up")
        proxy.reset()
        for verb in run_each_verb(driving, driver):
            assert (proxy.commands, proxy.round_trips) == ([COMMANDS[verb]], 1)
            proxy.reset()


def test_a_refused_write_is_one_more_command(
    driving: Driving, mongodb_server: MongoServer | MongoReplicaSet
) -> None:
    commands = Commands()
    driver = driving.open(mongodb_server.url, event_listeners=[commands])
    first = record()
    theirs = next_write(first)
    driving.ask(driver, "add", "key", theirs)
    moved, conflict = next_write(first), Answer(Outcome.CONFLICT, theirs)
    left = left_by(moved, "new")
    for verb, arguments, expected, names in [
        ("add", ("key", first), True, ["insert", "find"]),
        ("add", ("key", record()), False, ["insert", "find"]),
        ("replace", ("key", moved, first, NOW), conflict, ["update", "find"]),
        ("touch", ("key", first, NOW + 1, NOW), conflict, ["update", "find"]),
        ("retire", ("key", first, make_end(), NOW, NEVER), conflict, ["update", "find"]),
        ("move", ("key", "new", moved, first, left, NOW), conflict, ["update", "find", "delete"]),
        ("move", ("key", "key", moved, theirs, left, NOW), MISSING, ["update", "find"]),
    ]:
        commands.sent.clear()
        assert driving.ask(driver, verb, *arguments) == expected
        assert commands.names == names
    assert driving.ask(driver, "get", "new") is None


def test_a_save_does_not_bring_its_payload_back(
    driving: Driving, mongodb_standalone: MongoServer
) -> None:
    replies: list[Any] = []

    class Replies(Commands):
        def succeeded(self, event: Any) -> None:
            replies.append(event.reply)

    driver = driving.open(mongodb_standalone.url, event_listeners=[Replies()])
    first = record()
    second = next_write(first, payload=b"x" * 1000)
    driving.ask(driver, "add", "key", first)
    replies.clear()
    driving.ask(driver, "replace", "key", second, first, NOW)
    driving.ask(driver, "touch", "key", second, NOW + HOUR, NOW)
    assert len(replies) == 2
    assert all(len(repr(reply)) < 500 for reply in replies)


def test_dollar_signs_in_values_are_values(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    first = record(user=b"$record", payload=b"$user_id", revision=b"$$ROOT.$")
    driving.ask(driver, "add", "$key", first)
    assert driving.ask(driver, "get", "$key") == first
    second = next_write(first, user=b"$$NOW", payload=b"$_id")
    assert driving.ask(driver, "replace", "$key", second, first, NOW) == SAVED
    assert driving.ask(driver, "get", "$key") == second
    document = looking.document("$key")
    assert document is not None
    assert document["user_id"] == "$$NOW"
    third = record(revision=b"$$NOW.$a")
    left = left_by(third, "$new")
    assert driving.ask(driver, "move", "$key", "$new", third, second, left, NOW) == SAVED
    assert driving.ask(driver, "get", "$new") == third
    assert driving.ask(driver, "get", "$key") == left
    claiming = record(revision=b"$_id.$$a")
    claimed = left_by(claiming, "$$ROOT")
    assert driving.ask(driver, "move", "$key", "$$ROOT", claiming, left, claimed, NOW) == SAVED
    assert driving.ask(driver, "get", "$key") == claimed
    end = Tombstone(b"$$REMOVE", Reason.ENDED, "$record")
    assert driving.ask(driver, "delete", "$$ROOT", end) is True
    assert driving.ask(driver, "get", "$$ROOT") == end


def test_the_largest_session_fits(driving: Driving, driver: MongoDBDriver) -> None:
    first = record(payload=b"x" * GREATEST_PAYLOAD)
    second = next_write(first, payload=b"y" * GREATEST_PAYLOAD)
    third = next_write(second, payload=b"z" * GREATEST_PAYLOAD)
    assert driving.ask(driver, "add", "old", first)
    assert driving.ask(driver, "replace", "old", second, first, NOW) == SAVED
    left = left_by(third, "new")
    assert driving.ask(driver, "move", "old", "new", third, second, left, NOW) == SAVED
    assert driving.ask(driver, "get", "new") == third
    driving.ask(driver, "delete", "new", make_end())


def test_the_ttl_monitor_counts_by_its_own_clock(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    first, second = record(), record(idle_ms=NEVER, deadline_ms=NEVER)
    driving.ask(driver, "add", "old", first)
    driving.ask(driver, "add", "endless", second)
    driving.ask(driver, "touch", "old", first, NOW + HOUR // 2, NOW)
    driving.ask(driver, "touch", "endless", second, NOW + HOUR, NOW)
    driving.ask(driver, "add", "ended", record())
    driving.ask(driver, "delete", "ended", make_end())
    third = record()
    driving.ask(driver, "add", "touched late", third)
    driving.ask(driver, "touch", "touched late", third, NOW + 48 * HOUR, NOW)
    documents = {document["_id"]: document for document in looking.sessions.find()}
    assert documents["old"]["collect_at"] > looking.server_time()
    assert documents["touched late"]["collect_at"] > looking.server_time()
    assert documents["ended"]["collect_at"] > looking.server_time()
    assert documents["endless"]["collect_at"] is None


def test_a_clock_that_a_test_froze_years_ago_has_no_record_collected(
    driving: Driving,
    driver: MongoDBDriver,
    looking: Looking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW / 1000 - 10**9)
    driving.ask(driver, "add", "key", record())
    document = looking.document("key")
    assert document is not None
    assert document["collect_at"] > looking.server_time()


def test_a_tombstone_is_collected_after_a_minute(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    # Also that of a session without an end.
    first = record(idle_ms=NEVER, deadline_ms=NEVER)
    moved = next_write(first)
    driving.ask(driver, "add", "old", first)
    driving.ask(driver, "move", "old", "new", moved, first, left_by(moved, "new"), NOW)
    document = looking.document("old")
    assert document is not None
    left = document["collect_at"] - looking.server_time()
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)
    assert set(document) == {"_id", "record", "is_tombstone", "collect_at"}


def test_a_touch_that_is_not_later_writes_nothing(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    first = record()
    driving.ask(driver, "add", "key", first)
    before = looking.document("key")
    assert driving.ask(driver, "touch", "key", first, NOW, NOW) == SAVED
    assert looking.document("key") == before


def test_delete_does_not_renew_a_tombstone(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    driving.ask(driver, "add", "key", record())
    end = make_end()
    driving.ask(driver, "delete", "key", end)
    before = looking.document("key")
    assert driving.ask(driver, "delete", "key", make_end()) == end
    assert looking.document("key") == before


def test_a_touch_moves_the_times_in_the_bytes_and_beside_them(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    first = record()
    driving.ask(driver, "add", "key", first)
    before = looking.document("key")
    assert driving.ask(driver, "touch", "key", first, NOW + HOUR // 2, NOW) == SAVED
    document = looking.document("key")
    touched = changed(first, touched_ms=NOW + HOUR // 2)
    assert before is not None
    assert document is not None
    assert document == {
        **before,
        "record": touched.raw,
        "ends_ms": touched.ends_ms,
        "touched_ms": touched.touched_ms,
        "collect_at": document["collect_at"],
    }
    assert document["collect_at"] > before["collect_at"]


@pytest.mark.parametrize(
    ("user", "indexed"),
    [
        (None, None),
        (b"", ""),
        (b"7", "7"),
        ("Zoë".encode(), "Zoë"),
        (b"\xed\xa0\x80", "\N{REPLACEMENT CHARACTER}" * 3),
    ],
)
def test_the_user_stands_beside_the_bytes(
    driving: Driving,
    driver: MongoDBDriver,
    looking: Looking,
    user: bytes | None,
    indexed: str | None,
) -> None:
    first = record(user=user)
    driving.ask(driver, "add", "key", first)
    driving.ask(driver, "touch", "key", first, NOW + 1, NOW)
    document = looking.document("key")
    assert document is not None
    assert document["user_id"] == indexed


def test_an_add_that_is_sent_again_leaves_a_touch(driving: Driving, driver: MongoDBDriver) -> None:
    first = record()
    driving.ask(driver, "add", "key", first)
    driving.ask(driver, "touch", "key", first, NOW + 1, NOW)
    assert driving.ask(driver, "add", "key", first)
    assert driving.ask(driver, "get", "key") == changed(first, touched_ms=NOW + 1)


def test_a_move_that_was_made_by_half_is_finished(driving: Driving, driver: MongoDBDriver) -> None:
    first = record()
    moved = next_write(first)
    left = left_by(moved, "new")
    driving.ask(driver, "add", "old", first)
    driving.ask(driver, "add", "new", moved)
    assert driving.ask(driver, "move", "old", "new", moved, first, left, NOW) == SAVED
    assert driving.ask(driver, "get", "old") == left
    assert driving.ask(driver, "get", "new") == moved


def test_a_move_whose_tombstone_is_gone_takes_nothing_away(
    driving: Driving, driver: MongoDBDriver, looking: Looking
) -> None:
    first = record()
    moved = next_write(first)
    left = left_by(moved, "new")
    driving.ask(driver, "add", "old", first)
    driving.ask(driver, "move", "old", "new", moved, first, left, NOW)
    looking.sessions.delete_one({"_id": "old"})
    assert driving.ask(driver, "move", "old", "new", moved, first, left, NOW) == MISSING
    assert driving.ask(driver, "get", "new") == moved


def test_a_repeated_add_leaves_what_was_stored_since(
    driving: Driving, driver: MongoDBDriver
) -> None:
    first = record()
    second = next_write(first, payload=b"later")
    driving.ask(driver, "add", "key", first)
    driving.ask(driver, "replace", "key", second, first, NOW)
    assert driving.ask(driver, "add", "key", first)
    assert driving.ask(driver, "get", "key") == second


def test_a_move_onto_a_taken_key_takes_nothing_away(
    driving: Driving, driver: MongoDBDriver
) -> None:
    first, other = record(), record()
    driving.ask(driver, "add", "old", first)
    driving.ask(driver, "add", "new", other)
    moved = next_write(first)
    left = left_by(moved, "new")
    assert driving.ask(driver, "move", "old", "new", moved, first, left, NOW) == MISSING
    assert driving.ask(driver, "get", "old") == first
    assert driving.ask(driver, "get", "new") == other
