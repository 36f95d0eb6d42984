"""What the Redis driver makes of what it did not write."""

from __future__ import annotations

import logging
import re
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_multisession.core.records import LONGEST_AGE, MISSING, SAVED, Record
from django_multisession.drivers.redis import RedisDriver
from django_multisession.testing.driver_fixtures import NOW, make_end, make_record, next_write
from tests.drivers.redis_fixtures import (
    VERBS,
    Raw,
    Verb,
    call,
    connect,
    driver,
    perform,
    raw,
)

__all__ = ["call", "connect", "driver", "raw"]

#: Field → what must not be read as a record.
UNREADABLE = [
    ("payload", None),
    ("revisions", None),
    ("revisions", b""),
    ("revisions", b"\xff\xfe"),
    ("revisions", b"{revision}  b"),
    ("revisions", b"{revision} "),
    ("revisions", b"{revision} \xed"),
    ("created_at", None),
    ("created_at", b"yesterday"),
    ("created_at", b"1e12"),
    ("created_at", b"0x10"),
    ("created_at", b" 1"),
    ("created_at", b"1\n"),
    ("created_at", b"nan"),
    ("created_at", b"253402300800000"),
    ("created_at", b"-62135596800001"),
    ("began_at", None),
    ("began_at", b"9" * 400),
    ("touched_at", None),
    ("touched_at", b"1.5"),
    ("touched_at", b"\xb2"),
    ("idle_age", b""),
    ("idle_age", b"60 s"),
    ("idle_age", b"9" * 5000),
    ("idle_age", b"1000000000001"),
    ("idle_age", b"-1000000000001"),
    ("hard_deadline_at", b"never"),
    ("hard_deadline_at", b"253402300800000"),
    ("user_id", b"\xff"),
    ("user_id", b"\xc3a\xa9"),
    ("user_id", b"\xe0\x80\x80"),
    ("user_id", b"\xf4\x90\x80\x80"),
]


@pytest.mark.parametrize("spoiled", UNREADABLE)
def test_an_unreadable_record_is_missing_to_every_verb_and_left_as_it_is(
    call: Verb,
    driver: RedisDriver,
    raw: Raw,
    caplog: pytest.LogCaptureFixture,
    spoiled: tuple[str, bytes | None],
) -> None:
    field, value = spoiled
    record = make_record()
    call(driver.add, "key", record)
    if value is not None:
        value = value.replace(b"{revision}", record.revision.encode())
    raw.spoil("key", field, value)
    before = raw.fields("key")
    with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
        assert call(driver.get, "key") is None
    assert len(caplog.messages) == 1
    assert re.fullmatch(r"Session record key is unreadable: [^:]*\.", caplog.messages[0])
    assert field in caplog.messages[0]
    assert perform(call, driver, "replace", record) == MISSING
    assert perform(call, driver, "move", record) == MISSING
    assert perform(call, driver, "touch", record) == MISSING
    assert raw.fields("key") == before
    assert call(driver.get, "moved") is None
    assert perform(call, driver, "delete", record) is True


@pytest.mark.parametrize("name", VERBS)
def test_a_key_that_holds_no_hash_is_no_record(
    call: Verb, driver: RedisDriver, raw: Raw, name: str
) -> None:
    # A claim here ends what it finds first.
    answers = {"get": None, "delete": True, "refused delete": False, "add": True, "claim": SAVED}
    raw.client.set(raw.name("key"), "something else")
    assert perform(call, driver, name, make_record()) == answers.get(name, MISSING)
    assert call(driver.add, "key", make_record()) is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tombstone", b"\xff"),
        ("successor", b"\xff"),
        ("successor", None),
        ("reason", b"another"),
        ("reason", b"\xff"),
        ("reason", None),
    ],
)
def test_an_unreadable_tombstone_is_none_and_ends_nothing_else(
    call: Verb,
    driver: RedisDriver,
    raw: Raw,
    caplog: pytest.LogCaptureFixture,
    field: str,
    value: bytes | None,
) -> None:
    record = make_record()
    call(driver.add, "key", record)
    call(driver.delete, "key", make_end())
    raw.spoil("key", field, value)
    with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
        assert call(driver.get, "key") is None
    assert len(caplog.messages) == 1
    assert field in caplog.messages[0]
    assert call(driver.replace, "key", next_write(record), record, NOW) == MISSING
    assert call(driver.delete, "key", make_end()) is False
    assert call(driver.add, "key", record) is False


@given(
    field=st.sampled_from(
        ["revisions", "created_at", "touched_at", "idle_age", "hard_deadline_at", "user_id"]
    ),
    value=st.one_of(
        st.binary(max_size=12),
        st.text(max_size=6).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.integers(-(10**16), 10**16).map(lambda number: str(number).encode()),
        st.from_regex(rb"[-+0-9eExX. _]{1,8}", fullmatch=True),
    ),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_and_python_agree_on_what_is_a_live_record(
    driver: RedisDriver, raw: Raw, field: str, value: bytes
) -> None:
    raw.client.delete(raw.name("key"))
    driver.add("key", make_record())
    raw.spoil("key", field, value)
    found = driver.get("key")
    if not isinstance(found, Record):
        assert driver.touch("key", make_record(), NOW, NOW) == MISSING
        return
    # Over what a reader of this record has.
    later = NOW + timedelta(seconds=1)
    answer = driver.touch("key", found, later, NOW)
    assert answer == (SAVED if found.is_live(NOW) else MISSING)


SECONDS = st.integers(-1000, 1000).map(lambda seconds: timedelta(seconds=seconds))


@given(
    record=st.builds(
        make_record,
        touched_at=SECONDS.map(lambda seconds: NOW + seconds),
        idle_age=st.none() | st.integers(-1000, 1000) | st.integers(-LONGEST_AGE, LONGEST_AGE),
        hard_deadline_at=st.none() | SECONDS.map(lambda seconds: NOW + seconds),
    ),
    touched_at=SECONDS.map(lambda seconds: NOW + seconds),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_touches_as_python_would(
    driver: RedisDriver, raw: Raw, record: Record, touched_at: datetime
) -> None:
    raw.client.delete(raw.name("key"))
    driver.add("key", record)
    answer = driver.touch("key", record, touched_at, NOW)
    assert answer == (SAVED if record.is_live(NOW) else MISSING)
    found = driver.get("key")
    assert isinstance(found, Record)
    assert found.touched_at == (
        max(record.touched_at, touched_at) if record.is_live(NOW) else record.touched_at
    )
