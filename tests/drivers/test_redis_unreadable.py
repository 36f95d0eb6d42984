"""What the Redis driver makes of what it did not write."""

from __future__ import annotations

import logging
import random
import re
import secrets
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import RedisServer

from django_multisession.core.records import (
    BEGINNING_MS,
    END_MS,
    LONGEST_AGE,
    MISSING,
    NEVER,
    RECORD_HEAD,
    REVISION_AT,
    SAVED,
    TOMBSTONE_HEAD,
    Outcome,
    Record,
    Tombstone,
)
from django_multisession.drivers import base, log_lines
from django_multisession.drivers.base import Page, security_logger
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import (
    HOUR,
    NOW,
    SECOND,
    left_by,
    make_end,
    make_record,
)
from django_multisession.testing.engine.fixtures import storage_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.verbs import Run, SessionVerbs
from tests.drivers.redis_fixtures import (
    VERBS,
    Raw,
    Verb,
    call,
    connect,
    driver,
    perform,
    raw,
    run,
)
from tests.faults.redis_site import use_redis

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["call", "connect", "driver", "raw", "run"]

Spoil = Callable[[bytes], bytes]

#: Where the series of a record ends, and the length of its user begins.
USER_LENGTH_AT = 143


def answer_or_outage(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except StoreUnavailable as error:
        return error.kind


#: Where the signature and the id of the key that made it lie.
SIGNATURE_AT, KEY_ID = 19, slice(87, 91)

#: What a writer in the store did → how, and what the log says of it. It struck what scripts look at.
SPOILED: dict[str, tuple[Spoil, str]] = {
    "nothing": (lambda _: b"", "it is no record"),
    "number": (lambda _: b"12", "it is no record"),
    "text": (
        lambda _: b"something else entirely, and longer than a record's head" * 9,
        "no record",
    ),
    "a byte": (lambda raw: raw[:1], "it is no record"),
    "no kind": (lambda raw: raw[:2], "it is no record"),
    "head": (lambda raw: raw[:3], "it is cut short"),
    "half an end": (lambda raw: raw[:7], "it is cut short"),
    "no last use": (lambda raw: raw[:11], "it is cut short"),
    "no signature": (lambda raw: raw[:19], "it is cut short"),
    "half a signature": (lambda raw: raw[:40], "it is cut short"),
    "no revision": (lambda raw: raw[:51], "it is cut short"),
    "half a revision": (lambda raw: raw[:58], "it is cut short"),
    "another mark": (lambda raw: b"\x00" + raw[1:], "it is no record"),
    "an older version": (lambda raw: raw[:1] + b"\x00" + raw[2:], "it is no record"),
    "another kind": (lambda raw: raw[:2] + b"\x07" + raw[3:], "it is no record"),
    "one more in front": (lambda raw: b"\x00" + raw, "it is no record"),
    "one less in front": (lambda raw: raw[1:], "it is no record"),
    "one more in the end": (lambda raw: raw[:5] + b"\x00" + raw[5:], "it is cut short"),
    "hexadecimal": (lambda raw: raw.hex().encode(), "it is no record"),
    "twice encoded": (lambda raw: raw.decode("latin-1").encode(), "it is no record"),
}

#: Likewise, but behind the revision, or in times that are still ahead.
SPOILED_BEHIND: dict[str, tuple[Spoil, str]] = {
    "revision": (lambda raw: raw[: REVISION_AT + 8], "it is cut short"),
    "half a header": (lambda raw: raw[:100], "it is cut short"),
    "no user": (lambda raw: raw[:USER_LENGTH_AT], "it is cut short"),
    "long user": (
        lambda raw: raw[:USER_LENGTH_AT] + struct.pack(">I", 2**31) + raw[USER_LENGTH_AT + 4 :],
        "it is cut short",
    ),
    "later end": (
        lambda raw: raw[:3] + struct.pack(">q", NOW + HOUR) + raw[11:],
        "its end doesn't",
    ),
    "no end": (lambda raw: raw[:3] + struct.pack(">q", NEVER) + raw[11:], "its end doesn't"),
    "earlier use": (
        lambda raw: raw[:11] + struct.pack(">q", NOW - HOUR) + raw[19:],
        "its end doesn't",
    ),
    "other idle age": (lambda raw: raw.replace(struct.pack(">q", 600_000), b"\x7f" * 8), "its end"),
}


def assert_is_told(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    assert len(caplog.messages) == 1
    assert re.fullmatch(r"Session record key is unreadable: [^:]*\.", caplog.messages[0])
    assert reason in caplog.messages[0]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED.values(), ids=list(SPOILED))
def test_an_unreadable_record_is_missing_to_every_verb_and_left_as_it_is(
    call: Verb,
    driver: RedisDriver,
    raw: Raw,
    caplog: pytest.LogCaptureFixture,
    spoil: Spoil,
    reason: str,
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    raw.put("key", spoil(record.raw))
    before, life = raw.stored("key"), raw.life("key")
    with caplog.at_level(logging.WARNING, security_logger.name):
        assert call(driver.get, "key") is None
    assert_is_told(caplog, reason)
    for name in ("replace", "move", "touch", "retire"):
        assert perform(call, driver, name, record) == MISSING
    call(driver.withdraw, "key", record)
    assert call(driver.add, "key", make_record()) is False
    assert raw.stored("key") == before
    assert raw.life("key") <= life
    assert call(driver.get, "moved") is None
    assert perform(call, driver, "delete", record) is True


@for_each(("spoil", "reason"), SPOILED_BEHIND.values())
@for_each("name", ["replace", "move", "touch", "retire", "withdraw", "delete"])
def test_what_is_spoiled_where_no_script_looks_is_none_and_only_its_own_base_goes_over_it(
    call: Verb,
    driver: RedisDriver,
    raw: Raw,
    caplog: pytest.LogCaptureFixture,
    spoil: Spoil,
    reason: str,
    name: str,
) -> None:
    raw.clear()
    caplog.clear()
    log_lines.counter.clear()
    record = make_record()
    call(driver.add, "key", record)
    spoiled = spoil(record.raw)
    assert spoiled != record.raw
    raw.put("key", spoiled)
    with caplog.at_level(logging.WARNING, security_logger.name):
        assert call(driver.get, "key") is None
    assert_is_told(caplog, reason)
    for other in ("conflicting replace", "refused claim", "refused touch", "refused retire"):
        assert perform(call, driver, other, record) == MISSING
    assert perform(call, driver, "refused add", record) is False
    call(driver.withdraw, "key", make_record())
    assert raw.stored("key") == spoiled
    # Who read it before that writes what was read, and verified, then.
    answers = {"withdraw": None, "delete": True}
    assert perform(call, driver, name, record) == answers.get(name, SAVED)


@for_each("kind", ["hash", "list", "set", "sorted set", "stream"])
@for_each("name", VERBS)
def test_a_key_that_holds_no_string_is_no_record(
    call: Verb, driver: RedisDriver, raw: Raw, name: str, kind: str
) -> None:
    answers = {
        "get": None,
        "refused get": None,
        "withdraw": None,
        "refused withdraw": None,
        "delete": True,
        "refused delete": False,
        "add": True,
        "refused add": False,
        "anonymous add": True,
        "refused anonymous add": False,
        "of_user": Page([], ""),
        # A claim here ends what it finds first.
        "claim": SAVED,
        "ending claim": SAVED,
    }
    raw.clear()
    put_another_type(raw, kind)
    before = raw.client.dump(raw.name("key"))
    assert perform(call, driver, name, make_record()) == answers.get(name, MISSING)
    assert call(driver.add, "key", make_record()) is False
    is_ended = name in {"claim", "ending claim", "delete"}
    assert (raw.client.dump(raw.name("key")) != before) == is_ended


def put_another_type(raw: Raw, kind: str, key: str = "key") -> None:
    name = raw.name(key)
    raw.client.delete(name)
    put: dict[str, Callable[[], Any]] = {
        "hash": lambda: raw.client.hset(name, "payload", b"x"),
        "list": lambda: raw.client.rpush(name, b"x"),
        "set": lambda: raw.client.sadd(name, b"x"),
        "sorted set": lambda: raw.client.zadd(name, {b"x": 1}),
        "stream": lambda: raw.client.xadd(name, {"payload": b"x"}),
    }
    put[kind]()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda raw: raw[:59], "it is cut short"),
        (lambda raw: raw[:59] + b"\x09", "its reason is unknown"),
        (lambda raw: raw[:59] + b"\xff", "its reason is unknown"),
        (lambda raw: raw + b"\xff", "it is cut short"),
        (lambda raw: raw[:3], "it is cut short"),
    ],
)
def test_an_unreadable_tombstone_is_none_and_ends_nothing_else(
    call: Verb,
    driver: RedisDriver,
    raw: Raw,
    caplog: pytest.LogCaptureFixture,
    spoil: Spoil,
    reason: str,
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    call(driver.delete, "key", end := make_end())
    raw.put("key", spoil(end.raw))
    with caplog.at_level(logging.WARNING, security_logger.name):
        assert call(driver.get, "key") is None
    assert_is_told(caplog, reason)
    assert call(driver.replace, "key", next_write(record), record, NOW) == MISSING
    assert call(driver.delete, "key", make_end()) is False
    assert call(driver.add, "key", record) is False
    assert raw.stored("key") == spoil(end.raw)


def test_what_a_tombstone_holds_as_times_makes_no_record_of_it(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    # The worst case: the revision that is expected, and an end that is far.
    disguised = TOMBSTONE_HEAD + record.raw[3:59] + b"\x00"
    raw.put("key", disguised)
    for name in ("replace", "move", "touch", "retire"):
        answer = perform(call, driver, name, record)
        assert (answer.outcome, type(answer.stored)) == (Outcome.MISSING, Tombstone)
        assert raw.stored("key") == disguised


@given(
    at=st.integers(0, 18) | st.integers(0, 200),
    value=st.one_of(
        st.binary(max_size=12),
        st.integers(-(2**63), 2**63 - 1).map(lambda number: struct.pack(">q", number)),
        st.sampled_from([0, -1, NOW, NOW + 1, NEVER, NEVER + 1, END_MS, BEGINNING_MS]).map(
            lambda number: struct.pack(">q", number)
        ),
    ),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_and_python_agree_on_what_is_a_live_record(
    driver: RedisDriver, raw: Raw, at: int, value: bytes
) -> None:
    raw.client.delete(raw.name("key"))
    record = make_record()
    base.run(driver.add("key", record))
    raw.put("key", record.raw[:at] + value + record.raw[at + len(value) :])
    found = answer_or_outage(lambda: base.run(driver.get("key")))
    if isinstance(found, OutageKind):
        assert found is OutageKind.UNKNOWN_FORMAT
        return
    if not isinstance(found, Record):
        answer = base.run(driver.touch("key", make_record(), NOW, NOW))
        assert answer.outcome is Outcome.MISSING
        return
    # Over what a reader of this record has.
    answer = base.run(driver.touch("key", found, NOW + SECOND, NOW))
    if not found.is_live(NOW):
        assert answer == MISSING
    elif found.touched_ms <= NEVER:
        assert answer == SAVED
    else:
        # A moment that no clock shows; nothing is written over it, so that either is true.
        assert answer.outcome in {Outcome.SAVED, Outcome.CONFLICT}


SECONDS = st.integers(-1000, 1000).map(lambda seconds: seconds * SECOND)


@given(
    record=st.builds(
        make_record,
        touched_ms=SECONDS.map(lambda milliseconds: NOW + milliseconds),
        idle_age=st.none() | st.integers(-1000, 1000) | st.integers(-LONGEST_AGE, LONGEST_AGE),
        deadline_ms=st.just(NEVER) | SECONDS.map(lambda milliseconds: NOW + milliseconds),
    ),
    touched_ms=SECONDS.map(lambda milliseconds: NOW + milliseconds),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_touches_as_python_would(
    driver: RedisDriver, raw: Raw, record: Record, touched_ms: int
) -> None:
    raw.client.delete(raw.name("key"))
    base.run(driver.add("key", record))
    answer = base.run(driver.touch("key", record, touched_ms, NOW))
    assert answer == (SAVED if record.is_live(NOW) else MISSING)
    found = base.run(driver.get("key"))
    assert isinstance(found, Record)
    assert found.touched_ms == (
        max(record.touched_ms, touched_ms) if record.is_live(NOW) else record.touched_ms
    )


MUTATIONS = 500
#: Keeps failures: the same in every run.
SEED = 20_240_229


def mutated(choice: random.Random, stored: bytes, other: bytes) -> bytes:
    """Return *stored* after what a fault of a disk or a vandal did to it; *other* lay elsewhere."""
    raw, at = bytearray(stored), choice.randrange(len(stored))
    # Every other strikes what scripts look at.
    if choice.random() < 0.5:
        at %= REVISION_AT + 8
    match choice.randrange(8):
        case 0 | 1:
            raw[at] ^= 1 << choice.randrange(8)
        case 2:
            for _ in range(choice.randrange(2, 9)):
                raw[choice.randrange(len(raw))] = choice.randrange(256)
        case 3:
            del raw[at:]
        case 4:
            raw[at:at] = choice.randbytes(choice.randrange(1, 17))
        case 5:
            del raw[at : at + choice.randrange(1, 17)]
        case 6:
            raw[at:] = other[at:]
        case _:
            raw[:at] = other[:at]
    return bytes(raw)


def is_newer(raw: bytes) -> bool:
    return len(raw) >= 3 and raw[:1] == RECORD_HEAD[:1] and raw[1] > RECORD_HEAD[1]


def is_over_base(raw: bytes, record: Record, latest_use: int) -> bool:
    """Is *raw*, by what scripts may look at, what a write over *record* goes over?"""
    if not is_added(raw, record):
        return False
    (ends,) = struct.unpack_from(">q", raw, 3)
    return bool(ends > NOW and used_of(raw) <= latest_use)


def is_added(raw: bytes, record: Record) -> bool:
    return raw[:3] == RECORD_HEAD and raw[REVISION_AT : REVISION_AT + 8] == record.revision


def used_of(raw: bytes) -> int:
    used: int = struct.unpack_from(">q", raw, 11)[0]
    return used


@pytest.mark.long
@pytest.mark.parametrize("name", VERBS)
def test_every_verb_answers_to_every_mutation_and_writes_over_its_base_only(
    call: Verb, driver: RedisDriver, raw: Raw, name: str
) -> None:
    choice = random.Random(SEED)
    record, other = make_record(), make_record(payload=b"of somebody else", user_id="8")
    latest = {"touch": NEVER, "retire": NEVER}.get(name, NOW)
    kinds = {"mutants": 0, "written": 0, "refused": 0}
    for _ in range(MUTATIONS):
        raw.client.delete(*(raw.name(key) for key in ("key", "moved", "other")))
        mutant = mutated(choice, record.raw, other.raw)
        raw.client.set(raw.name("key"), mutant, px=HOUR)
        kinds["mutants"] += mutant != record.raw
        answer = answer_or_outage(lambda: perform(call, driver, name, record))
        if answer is OutageKind.UNKNOWN_FORMAT:
            assert is_newer(mutant)
            kinds["refused"] += 1
        else:
            # Whatever it is, nobody gets what lies under another key.
            found = answer if isinstance(answer, Record) else getattr(answer, "stored", None)
            assert found is None or found.raw == mutant
        is_written = raw.stored("key") != mutant
        kinds["written"] += is_written
        if name in {"replace", "move", "touch", "retire"}:
            is_saved = is_over_base(mutant, record, latest)
            # A last use that is later still stays.
            is_moot = name == "touch" and is_saved and used_of(mutant) >= NOW + 9 * SECOND
            assert (answer == SAVED) == is_saved
            assert is_written == (is_saved and not is_moot)
            assert bool(raw.client.exists(raw.name("moved"))) == (is_written and name == "move")
        elif name == "withdraw":
            assert is_written == is_added(mutant, record)
        elif name in {"delete", "claim", "ending claim"}:
            assert is_written == (mutant[:3] != TOMBSTONE_HEAD)
        else:
            assert not is_written
    assert kinds["mutants"] > MUTATIONS * 0.8
    if name in {"replace", "move", "touch", "retire"}:
        assert min(kinds["written"], kinds["refused"]) > 0


@pytest.mark.parametrize("name", ["move", "retire"])
def test_a_claim_answers_to_every_mutation_and_takes_its_tombstone_only(
    call: Verb, driver: RedisDriver, raw: Raw, name: str
) -> None:
    choice = random.Random(SEED)
    end, new = make_end(), make_record()
    # The worst case: a record that has the tombstone's revision, and is live.
    twin = make_record(revision=end.revision)
    left, ending = left_by(new, "moved"), make_end()
    ends = {True: 0, False: 0}
    for _ in range(MUTATIONS):
        raw.client.delete(raw.name("key"), raw.name("moved"))
        stored = twin.raw if choice.random() < 0.2 else end.raw
        mutant = mutated(choice, stored, twin.raw)
        raw.client.set(raw.name("key"), mutant, px=HOUR)
        if name == "move":
            answer = answer_or_outage(
                lambda: call(driver.move, "key", "moved", new, end, left, NOW)
            )
        else:
            answer = answer_or_outage(lambda: call(driver.retire, "key", end, ending, NOW, NEVER))
        is_base = mutant[:3] == TOMBSTONE_HEAD and mutant[REVISION_AT:][:8] == end.revision
        assert (answer == SAVED) == is_base
        assert (raw.stored("key") != mutant) == is_base
        assert bool(raw.client.exists(raw.name("moved"))) == (is_base and name == "move")
        if answer is OutageKind.UNKNOWN_FORMAT:
            assert is_newer(mutant)
        ends[is_base] += 1
    assert min(ends.values()) > MUTATIONS / 20


def test_a_move_to_a_taken_key_leaves_both_as_they_are(
    call: Verb, driver: RedisDriver, raw: Raw
) -> None:
    record = make_record()
    for taken in (b"", b"something else", make_record().raw, make_end().raw):
        raw.client.delete(raw.name("key"))
        raw.client.set(raw.name("moved"), taken)
        call(driver.add, "key", record)
        assert perform(call, driver, "move", record) == MISSING
        assert (raw.stored("key"), raw.stored("moved")) == (record.raw, taken)
    put_another_type(raw, "hash", "moved")
    assert perform(call, driver, "move", record) == MISSING
    assert raw.stored("key") == record.raw
    assert raw.client.type(raw.name("moved")) == b"hash"


def test_a_record_is_written_over_until_its_end_and_not_at_it(
    call: Verb, driver: RedisDriver
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    later = record.ends_ms
    new = next_write(record, touched_ms=later)
    assert call(driver.replace, "key", new, record, later) == MISSING
    assert call(driver.touch, "key", record, later, later) == MISSING
    assert call(driver.retire, "key", record, make_end(), later, NEVER) == MISSING
    assert call(driver.move, "key", "moved", new, record, left_by(new, "moved"), later) == MISSING
    assert call(driver.get, "key") == record
    assert call(driver.touch, "key", record, later - 1, later - 1) == SAVED


class Site:
    """Sessions of visitors, and what lies in the store of them."""

    def __init__(self, client: Any, prefix: str, run: Run | None) -> None:
        self._client, self._prefix, self._run = client, prefix, run

    def open(self, key: str | None = None) -> SessionVerbs:
        return SessionVerbs(SessionStore(key), self._run)

    def begin(self, name: str) -> str:
        session = self.open()
        session["name"] = name
        session.save()
        assert session.key is not None
        return session.key

    def stored(self, key: str) -> bytes:
        found: bytes = self._client.get(self._name(key))
        return found

    def put(self, key: str, raw: bytes) -> None:
        self._client.set(self._name(key), raw, px=HOUR)

    def put_hash(self, key: str, raw: bytes) -> None:
        self._client.delete(self._name(key))
        self._client.hset(self._name(key), "payload", raw)

    def _name(self, key: str) -> str:
        return self._prefix + storage_key(key)


@pytest.fixture
def site(newest_redis: RedisServer, settings: Settings, run: Run | None) -> Iterator[Site]:
    prefix = f"test-{secrets.token_hex(8)}:"
    use_redis(newest_redis, settings, key_prefix=prefix)
    with redis.Redis.from_url(newest_redis.url) as client:
        yield Site(client, prefix, run)
    close_drivers()


@pytest.mark.usefixtures("quiet")
def test_a_mutated_record_is_no_session_or_an_outage_and_never_another_one(site: Site) -> None:
    choice = random.Random(SEED)
    mine, other = site.begin("ada"), site.begin("bob")
    record, others = site.stored(mine), site.stored(other)
    key_id = record[KEY_ID]
    kinds = {"gone": 0, "outages": 0, "same": 0}
    for _ in range(MUTATIONS):
        mutant = mutated(choice, record, others)
        site.put(mine, mutant)
        session = site.open(mine)
        entries = answer_or_outage(session.entries)
        if entries is OutageKind.UNKNOWN_FORMAT:
            assert is_newer(mutant) or mutant[KEY_ID] != key_id
            # It is left for whoever can read it.
            assert site.stored(mine) == mutant
            kinds["outages"] += 1
        else:
            is_whole = mutant[SIGNATURE_AT:] == record[SIGNATURE_AT:]
            assert entries in ([{}, {"name": "ada"}] if is_whole else [{}])
            kinds["gone" if entries == {} else "same"] += 1
            if entries == {}:
                session["name"] = "new"
                session.save()
                assert session.key not in {mine, other}
    assert kinds["gone"] > MUTATIONS / 2
    assert kinds["outages"] > 0
    assert site.open(other).entries() == {"name": "bob"}


@pytest.mark.usefixtures("quiet")
def test_another_session_s_record_and_other_types_are_no_session(site: Site) -> None:
    mine, other = site.begin("ada"), site.begin("bob")
    record, others = site.stored(mine), site.stored(other)
    site.put(mine, others)
    assert site.open(mine).entries() == {}
    for at in range(len(record)):
        for spliced in (record[:at] + others[at:], others[:at] + record[at:]):
            if spliced == record:
                continue
            site.put(mine, spliced)
            found = site.open(mine).entries()
            # An earlier or a later use of it is no other session.
            assert found == {} or (
                found == {"name": "ada"} and spliced[SIGNATURE_AT:] == record[SIGNATURE_AT:]
            )
    site.put_hash(mine, record)
    assert site.open(mine).entries() == {}
    site.put(mine, record)
    assert site.open(mine).entries() == {"name": "ada"}


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the thousand lines that are due out of the report."""
    caplog.set_level(logging.CRITICAL, security_logger.name)
