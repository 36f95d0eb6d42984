from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_multisession import cycling, keys
from django_multisession.testing.driver_fixtures import make_record

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AFTER, GRACE = timedelta(minutes=15), timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)
SIGNING = [keys.derive(b"now")]
OLD, NEW = keys.make(SIGNING), keys.make(SIGNING)


def keyed(at: datetime, old_key: str | None = None) -> bool:
    return cycling.is_due(AFTER, GRACE, make_record(keyed_at=at, old_key=old_key), NOW)


def test_a_new_key_is_due_when_the_old_one_is_old_enough() -> None:
    assert keyed(NOW - AFTER)
    assert not keyed(NOW - AFTER + MILLISECOND)


def test_no_new_key_is_due_while_the_client_was_not_seen_with_the_last_one() -> None:
    assert not keyed(NOW - AFTER, old_key="0" * 64)


def test_no_new_key_is_due_where_none_is_wanted() -> None:
    assert not cycling.is_due(None, GRACE, make_record(keyed_at=NOW - timedelta(days=99)), NOW)


def test_no_new_key_is_due_before_the_grace_period_of_the_last_one_is_over() -> None:
    record = make_record(keyed_at=NOW - AFTER)
    assert not cycling.is_due(AFTER, AFTER + MILLISECOND, record, NOW)


def test_an_old_key_is_good_until_the_new_one_was_seen_and_so_long_after() -> None:
    unseen = make_record(keyed_at=NOW - timedelta(days=9), old_key="0" * 64)
    assert cycling.is_in_grace(GRACE, unseen, NOW)
    assert cycling.is_in_grace(GRACE, make_record(keyed_at=NOW - GRACE + MILLISECOND), NOW)
    assert not cycling.is_in_grace(GRACE, make_record(keyed_at=NOW - GRACE), NOW)


def test_a_forward_leads_from_the_old_key_to_the_new_one() -> None:
    assert cycling.follow(OLD, cycling.forward(OLD, NEW), SIGNING) == NEW


def test_a_forward_leads_on_after_the_secret_was_changed() -> None:
    rotated = [keys.derive(b"next"), *SIGNING]
    found = cycling.follow(OLD, cycling.forward(OLD, NEW), rotated)
    assert found is not None
    assert (found.storage_key, found.by_fallback) == (NEW.storage_key, False)
    assert keys.verify(found.session_key, rotated) == found


def test_a_forward_tells_nothing_to_who_has_another_key() -> None:
    forward = cycling.forward(OLD, NEW)
    assert cycling.follow(NEW, forward, SIGNING) is None
    assert NEW.random_part.encode() not in forward


def test_no_two_forwards_look_alike() -> None:
    assert len({cycling.forward(OLD, NEW) for _ in range(100)}) == 100


@given(st.binary(max_size=80))
def test_bytes_that_are_no_forward_lead_nowhere(led_by: bytes) -> None:
    assert cycling.follow(OLD, led_by, SIGNING) is None


@given(st.integers(0, 66), st.integers(1, 255))
def test_a_forward_that_was_changed_leads_nowhere(position: int, flip: int) -> None:
    forward = bytearray(cycling.forward(OLD, NEW))
    forward[position % len(forward)] ^= flip
    assert cycling.follow(OLD, bytes(forward), SIGNING) is None
    assert cycling.follow(OLD, bytes(forward[:position]), SIGNING) is None


def test_without_the_library_a_forward_leads_nowhere_and_none_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = cycling.forward(OLD, NEW)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert cycling.follow(OLD, forward, SIGNING) is None
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError):
        cycling.forward(OLD, NEW)
