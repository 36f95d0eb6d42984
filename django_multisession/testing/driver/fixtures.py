"""What the laws of a driver stand on: records that are live, and the verbs sync and async."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from django_multisession.core.records import (
    Facts,
    Reason,
    Record,
    Tombstone,
    assemble,
    encode_signed,
    new_revision,
)
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers import log_lines
from django_multisession.drivers.base import Driver
from django_multisession.testing.stored_records import changed
from django_multisession.testing.verbs import DriverVerbs, open_runner

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: 2020-02-29 23:59:59.123 UTC. Long past, on purpose: no server may compare a record's times with
#: its own clock.
NOW = 1_583_020_799_123
IDLE_MS = 10 * MINUTE

_KEY_ID = b"laws"
#: Drivers verify nothing.
_SIGNATURE = bytes(range(32))
_FACTS = Facts(
    created_ms=NOW - 3 * HOUR,
    began_ms=NOW - 2 * HOUR,
    touched_ms=NOW,
    idle_ms=IDLE_MS,
    deadline_ms=NOW + 30 * DAY,
    user=b"7",
)


def make_key() -> str:
    """Return a storage key that no other law uses."""
    return secrets.token_hex(32)


def make_record(**changes: Any) -> Record:
    """Return a record that is live at `NOW`, but for *changes*; see `changed`."""
    record = assemble(_FACTS, _SIGNATURE, encode_signed(_FACTS, b"\x01payload", _KEY_ID))
    return changed(record, **changes)


def with_bytes(record: Record, raw: bytes) -> Record:
    """Return *record* such that a driver stores *raw* of it: what another program left there."""
    return record._replace(raw=SecretBytes(raw))


def left_by(moved: Record, new_key: str, reason: Reason = Reason.MOVED) -> Tombstone:
    """Return what the move of *moved* to *new_key* leaves under the old key."""
    return Tombstone(moved.revision, reason, new_key)


def make_end(reason: Reason = Reason.ENDED) -> Tombstone:
    """Return what an end leaves."""
    return Tombstone(new_revision(), reason)


EXPIRED = {"touched_ms": NOW - IDLE_MS}


class DriverFixtures:
    """Subclasses provide the fixture `driver`."""

    @pytest.fixture(autouse=True)
    def fresh_log_lines(self) -> None:
        """Let a law see its lines, however many others had this process write."""
        log_lines.counter.clear()

    @pytest.fixture
    def driver(self) -> Driver:
        """Return the driver under test."""
        raise NotImplementedError("subclasses of DriverContract must provide the fixture driver")

    @pytest.fixture(params=["sync", "async"])
    def verbs(self, driver: Driver, request: pytest.FixtureRequest) -> Iterator[DriverVerbs]:
        """Return the verbs of the driver, sync and async in turn."""
        run, close = open_runner(request.param)
        yield DriverVerbs(driver, run)
        close()
