"""The laws of what can't be read: garbage is no session, a newer release's record is an outage."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from django_multisession.core.records import (
    MISSING,
    RECORD_HEAD,
    TOMBSTONE_HEAD,
    Record,
    Tombstone,
)
from django_multisession.drivers.base import security_logger
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import (
    NOW,
    SECOND,
    DriverFixtures,
    left_by,
    make_end,
    make_key,
    make_record,
    with_bytes,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.verbs import DriverVerbs

#: What is stored of a record → by what it is made of the record's bytes.
GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "text": lambda _: b"something else",
    "binary": lambda _: bytes(range(256)),
    "head": lambda _: RECORD_HEAD,
    "half-head": lambda raw: raw[:40],
    "other-mark": lambda raw: b"\x00" + raw[1:],
    "older-version": lambda raw: raw[:1] + b"\x00" + raw[2:],
    "other-kind": lambda raw: raw[:2] + b"\x07" + raw[3:],
    "half-tombstone": lambda raw: TOMBSTONE_HEAD + raw[3:40],
}


class NewerTombstone(Tombstone):
    """A tombstone as a release to come would leave it."""

    @property
    def raw(self) -> bytes:
        """Return it as it is stored."""
        older = super().raw
        return older[:1] + bytes([older[1] + 1]) + older[2:]


class DriverUnreadableLaws(DriverFixtures):
    """What a driver makes of bytes that this release didn't write."""

    @for_each("spoil", GARBAGE.values())
    def test_garbage_is_no_session_and_one_log_line(
        self, verbs: DriverVerbs, caplog: pytest.LogCaptureFixture, spoil: Callable[[bytes], bytes]
    ) -> None:
        key, record = make_key(), make_record()
        verbs.add(key, with_bytes(record, spoil(record.raw)))
        caplog.clear()
        with caplog.at_level(logging.WARNING, security_logger.name):
            assert verbs.get(key) is None
        assert [line.name for line in caplog.records] == [security_logger.name]
        assert key in caplog.text
        assert "payload" not in caplog.text

    @for_each("spoil", GARBAGE.values())
    def test_garbage_is_missing_and_stays(
        self, verbs: DriverVerbs, spoil: Callable[[bytes], bytes]
    ) -> None:
        key, new, record = make_key(), make_key(), make_record()
        mine, moved = next_write(record), next_write(record)
        verbs.add(key, with_bytes(record, spoil(record.raw)))
        assert verbs.replace(key, mine, record, NOW) == MISSING
        assert verbs.touch(key, record, NOW + SECOND, NOW) == MISSING
        assert verbs.move(key, new, moved, record, left_by(moved, new), NOW) == MISSING
        assert verbs.retire(key, record, make_end(), NOW) == MISSING
        assert verbs.get(new) is None
        assert verbs.get(key) is None
        assert verbs.add(key, make_record()) is False

    @for_each(
        "spoil",
        [spoil for name, spoil in GARBAGE.items() if name != "half-tombstone"],
    )
    def test_garbage_can_be_ended(
        self, verbs: DriverVerbs, spoil: Callable[[bytes], bytes]
    ) -> None:
        key, record, end = make_key(), make_record(), make_end()
        verbs.add(key, with_bytes(record, spoil(record.raw)))
        assert verbs.delete(key, end) is True
        assert verbs.get(key) == end

    def test_an_end_that_does_not_follow_from_the_times_is_no_session(
        self, verbs: DriverVerbs, caplog: pytest.LogCaptureFixture
    ) -> None:
        key, record = make_key(), make_record()
        later = make_record(touched_ms=NOW + SECOND)
        verbs.add(key, with_bytes(record, record.raw[:3] + later.raw[3:11] + record.raw[11:]))
        assert verbs.get(key) is None
        assert [line.name for line in caplog.records] == [security_logger.name]

    @for_each("kind", [1, 2, 9])
    def test_what_a_newer_release_wrote_is_an_outage_and_stays(
        self, verbs: DriverVerbs, kind: int
    ) -> None:
        key, new, record = make_key(), make_key(), make_record()
        mine, moved = next_write(record), next_write(record)
        # The worst case: it has the revision that is expected.
        newer = with_bytes(record, record.raw[:1] + bytes((2, kind)) + record.raw[3:])
        left, claimed = left_by(moved, new), Tombstone(record.revision, make_end().reason)
        verbs.add(key, newer)
        attempts: list[Callable[[], Any]] = [
            lambda: verbs.get(key),
            lambda: verbs.add(key, mine),
            lambda: verbs.replace(key, mine, record, NOW),
            lambda: verbs.touch(key, record, NOW + SECOND, NOW),
            lambda: verbs.move(key, new, moved, record, left, NOW),
            lambda: verbs.move(key, new, moved, claimed, left, NOW),
            lambda: verbs.retire(key, record, left, NOW),
            lambda: verbs.retire(key, claimed, left, NOW),
        ]
        for attempt in attempts:
            with pytest.raises(StoreUnavailable) as caught:
                attempt()
            assert caught.value.kind is OutageKind.UNKNOWN_FORMAT
        # The last of them too has left it.
        with pytest.raises(StoreUnavailable):
            verbs.get(key)
        assert verbs.get(new) is None

    def test_what_a_newer_release_wrote_can_be_ended(self, verbs: DriverVerbs) -> None:
        key, record, end = make_key(), make_record(), make_end()
        verbs.add(key, with_bytes(record, record.raw[:1] + b"\x02" + record.raw[2:]))
        assert verbs.delete(key, end) is True
        assert verbs.get(key) == end

    def test_a_tombstone_of_a_newer_release_stays(self, verbs: DriverVerbs) -> None:
        # It may name a successor, which an end must not lose.
        key = make_key()
        verbs.add(key, make_record())
        # Where its own answer brings it back, that can't be read either.
        with contextlib.suppress(StoreUnavailable):
            verbs.delete(key, NewerTombstone(*make_end()))
        with pytest.raises(StoreUnavailable):
            verbs.delete(key, make_end())
        with pytest.raises(StoreUnavailable):
            verbs.get(key)

    def test_a_tombstone_of_a_newer_release_hides_no_other_end(self, verbs: DriverVerbs) -> None:
        newer, key, record, end = make_key(), make_key(), make_record(), make_end()
        for each in (newer, key):
            verbs.add(each, record)
        with contextlib.suppress(StoreUnavailable):
            verbs.delete(newer, NewerTombstone(*make_end()))
        assert verbs.delete_many([newer, key], end) == [False, True]
        assert verbs.get(key) == end
        with pytest.raises(StoreUnavailable):
            verbs.get(newer)

    def test_a_purge_leaves_what_a_newer_release_wrote(self, verbs: DriverVerbs) -> None:
        key, record = make_key(), make_record(touched_ms=NOW - 3600 * SECOND)
        verbs.add(key, with_bytes(record, record.raw[:1] + b"\x02" + record.raw[2:]))
        assert verbs.count_expired(NOW) == 0
        assert verbs.purge_expired(NOW, 10) == 0
        with pytest.raises(StoreUnavailable):
            verbs.get(key)
        assert not isinstance(verbs.get(make_key()), Record)
