"""Records as rows, and the SQL that reads and writes them: pure.

The names are as Django writes them, which no database needs quoted. A write names in its condition
all that it goes over, so that one statement compares and writes.

`OVER` and `CLEAR` compare ``ends_ms + 0``, which no index serves. In a small table MariaDB took the
index on ``ends_ms``, and two writes that lock a row through two indexes deadlock.
"""

from __future__ import annotations

from typing import Any

from django_multisession.core.records import (
    NEVER,
    RECORD_HEAD,
    REVISION_AT,
    REVISION_LENGTH,
    SLACK_MS,
    TOMBSTONE_HEAD,
    TOMBSTONE_MS,
    Record,
    Tombstone,
)

USER_LENGTH = 255

_SET = "record = %s, revision = %s, touched_ms = %s, ends_ms = %s, user_id = %s"

FIND = "SELECT record, ends_ms FROM django_multisession_session WHERE storage_key = %s"
INSERTED = (
    " django_multisession_session (record, revision, touched_ms, ends_ms, user_id, storage_key)"
    " VALUES (%s, %s, %s, %s, %s, %s) "
)
OVER = (
    f"UPDATE django_multisession_session SET {_SET}"  # noqa: S608  (constants)
    " WHERE storage_key = %s AND revision = %s AND touched_ms <= %s AND ends_ms + 0 > %s"
)
END = (
    f"UPDATE django_multisession_session SET {_SET}"  # noqa: S608  (constants)
    " WHERE storage_key = %s AND revision NOT LIKE %s"
)
#: Followed by `among` the keys, by `ONE_USER` where one is meant.
END_MANY = (
    f"UPDATE django_multisession_session SET {_SET}"  # noqa: S608  (constants)
    " WHERE revision NOT LIKE %s AND storage_key IN "
)
ONE_USER = " AND user_id = %s"
FIND_MANY = (
    "SELECT storage_key, record, ends_ms FROM django_multisession_session WHERE storage_key IN "
)
WITHDRAW = "DELETE FROM django_multisession_session WHERE storage_key = %s AND revision = %s"
CLEAR = (
    "DELETE FROM django_multisession_session"
    " WHERE storage_key = %s AND revision LIKE %s AND ends_ms + 0 < %s"
)
COUNT_EXPIRED = "SELECT COUNT(*) FROM django_multisession_session WHERE ends_ms < %s"
OF_USER = (
    "SELECT storage_key, record FROM django_multisession_session"
    " WHERE user_id = %s AND ends_ms > %s AND storage_key > %s ORDER BY storage_key LIMIT %s"
)

#: Tombstones of every version.
ANY_TOMBSTONE = f"{TOMBSTONE_HEAD[:1].hex()}__{TOMBSTONE_HEAD[2:].hex()}%"
#: Those that this release wrote, and that are whole.
OUR_TOMBSTONES = TOMBSTONE_HEAD.hex() + "__" * REVISION_LENGTH

Parameters = tuple[Any, ...]


def mark(raw: bytes) -> str:
    """Return the head and the revision of *raw*."""
    return (raw[:3] + raw[REVISION_AT : REVISION_AT + REVISION_LENGTH]).hex()


def mark_of(stored: Record | Tombstone) -> str:
    """Return the mark that the write of *stored* has left."""
    head = TOMBSTONE_HEAD if isinstance(stored, Tombstone) else RECORD_HEAD
    return (head + stored.revision).hex()


def values_of(stored: Record | Tombstone, clock_ms: int) -> Parameters:
    """Return the columns of *stored*, but for its key; a tombstone's end is counted from *clock_ms*."""
    raw = bytes(stored.raw)
    if isinstance(stored, Tombstone):
        return raw, mark(raw), 0, clock_ms + TOMBSTONE_MS, None
    # A purge asks for the end alone. It must not remove what this release can't read.
    ends_ms = stored.ends_ms if raw.startswith(RECORD_HEAD) else NEVER
    return raw, mark(raw), stored.touched_ms, ends_ms, user_of(stored)


def over(base: Record | Tombstone, now: int, latest_use: int, clock_ms: int) -> Parameters:
    """Return what `OVER` compares: *base*, while it is there.

    A record is there while it is live at *now* and not used after *latest_use*, a tombstone until it
    is gone at *clock_ms*.
    """
    if isinstance(base, Tombstone):
        return mark_of(base), 0, gone_before(clock_ms) - 1
    return mark_of(base), latest_use, now


def among(keys: Parameters) -> str:
    """Return the places of *keys* in a statement."""
    return f"({', '.join(['%s'] * len(keys))})"


def gone_before(clock_ms: int) -> int:
    """Return the end before which a row is gone for everyone, however clocks differ."""
    return clock_ms - SLACK_MS


def user_of(record: Record) -> str | None:
    """Return the user as a column of text takes it; the record's own bytes are what counts."""
    return None if record.user is None else text_of(record.user)


def text_of(user: bytes) -> str:
    """Return *user* as the column holds it: several users may be alike there."""
    return user.decode("utf-8", "replace").replace("\0", "\ufffd")[:USER_LENGTH]
