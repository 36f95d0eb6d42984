"""What the laws of a driver stand on: records that are live, and the verbs sync and async."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_multisession.core.records import Reason, Record, Tombstone, new_revision
from django_multisession.drivers.base import Driver
from django_multisession.testing.verbs import DriverVerbs, open_runner

#: Long past, on purpose: no server may compare a record's times with its own clock.
NOW = datetime(2020, 2, 29, 23, 59, 59, 123000, tzinfo=UTC)
IDLE_AGE = 600


def make_key() -> str:
    """Return a storage key that no other law uses."""
    return secrets.token_hex(32)


def make_record(**changes: Any) -> Record:
    """Return a record that is live at `NOW`, but for *changes*."""
    record = Record(
        payload=b"\x01payload",
        revisions=new_revision(),
        created_at=NOW - timedelta(hours=3),
        began_at=NOW - timedelta(hours=2),
        touched_at=NOW,
        idle_age=IDLE_AGE,
        hard_deadline_at=NOW + timedelta(days=30),
        user_id="7",
    )
    return dataclasses.replace(record, **changes)


def next_write(record: Record, **changes: Any) -> Record:
    """Return what a later save of *record* stores."""
    return dataclasses.replace(record, revisions=new_revision(record.revisions), **changes)


def left_by(moved: Record, new_key: str, reason: Reason = Reason.MOVED) -> Tombstone:
    """Return what the move of *moved* to *new_key* leaves under the old key."""
    return Tombstone(moved.revision, reason, new_key)


def make_end(reason: Reason = Reason.ENDED) -> Tombstone:
    """Return what an end leaves."""
    return Tombstone(new_revision()[0], reason)


EXPIRED = {"touched_at": NOW - timedelta(seconds=IDLE_AGE)}


class DriverFixtures:
    """Subclasses provide the fixture `driver`."""

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
