"""Records as the fields of a Redis hash; `redis_scripts` describes them and reads them likewise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django_multisession.core.records import (
    Reason,
    Record,
    Stored,
    Tombstone,
    from_milliseconds,
    is_readable_age,
    server_life,
    to_milliseconds,
)
from django_multisession.drivers.base import log_unreadable
from django_multisession.drivers.redis_scripts import NUMBER_LENGTH

#: Stands for the fields of what is no hash.
NO_HASH = {b"": b""}

_NUMBER = re.compile(rb"-?[0-9]+")


def life_of(record: Record, now: datetime) -> int | str:
    """Return the milliseconds for which Redis keeps *record*, or nothing for no end."""
    return milliseconds_of(server_life(record, now))


def milliseconds_of(life: timedelta | None) -> int | str:
    """Return the milliseconds of *life*, or nothing for ever."""
    return "" if life is None else int(life.total_seconds() * 1000)


def value_of(left: Tombstone) -> bytes:
    """Return what *left* says as one argument: each argument costs redis-py two microseconds."""
    return encoded(f"{left.revision} {left.reason} {left.successor}")


def fields_of(record: Record) -> list[bytes | int | str]:
    """Return the fields of *record* that are not None, each name before its value."""
    fields: dict[str, bytes | int | str] = {
        "payload": record.payload,
        "revisions": encoded(" ".join(record.revisions)),
        "created_at": to_milliseconds(record.created_at),
        "began_at": to_milliseconds(record.began_at),
        "touched_at": to_milliseconds(record.touched_at),
    }
    if record.idle_age is not None:
        fields["idle_age"] = record.idle_age
    if record.hard_deadline_at is not None:
        fields["hard_deadline_at"] = to_milliseconds(record.hard_deadline_at)
    if record.user_id is not None:
        fields["user_id"] = encoded(record.user_id)
    return [part for field in fields.items() for part in field]


def decoded(key: str, reply: Any) -> Stored:
    """Return what the fields in *reply* say, or None with a line in the log."""
    # HGETALL comes as a dict, from a script as a list.
    fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    if not fields:
        return None
    try:
        if b"tombstone" in fields:
            return Tombstone(
                revision=_text(fields, b"tombstone"),
                reason=_reason(fields),
                successor=_text(fields, b"successor"),
            )
        return Record(
            payload=_field(fields, b"payload"),
            revisions=_revisions(fields),
            created_at=_moment(fields, b"created_at"),
            began_at=_moment(fields, b"began_at"),
            touched_at=_moment(fields, b"touched_at"),
            idle_age=_age(fields, b"idle_age") if b"idle_age" in fields else None,
            hard_deadline_at=(
                _moment(fields, b"hard_deadline_at") if b"hard_deadline_at" in fields else None
            ),
            user_id=_text(fields, b"user_id") if b"user_id" in fields else None,
        )
    except ValueError as error:
        log_unreadable(key, error)
        return None


def _field(fields: Mapping[bytes, bytes], name: bytes) -> bytes:
    if name not in fields:
        raise ValueError(f"it has no {name.decode()}" if b"" not in fields else "it is no hash")
    return fields[name]


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    try:
        return _field(fields, name).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueError(f"its {name.decode()} is not UTF-8") from None


def encoded(text: str) -> bytes:
    """Return *text* as it is stored."""
    return text.encode("utf-8", "surrogatepass")


def _revisions(fields: Mapping[bytes, bytes]) -> tuple[str, ...]:
    revisions = tuple(_text(fields, b"revisions").split(" "))
    if not all(revisions):
        raise ValueError("one of its revisions is empty")
    return revisions


def _number(fields: Mapping[bytes, bytes], name: bytes) -> int:
    text = _field(fields, name)
    if len(text) > NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        raise ValueError(f"its {name.decode()} is no number")
    return int(text)


def _age(fields: Mapping[bytes, bytes], name: bytes) -> int:
    age = _number(fields, name)
    if not is_readable_age(age):
        raise ValueError(f"its {name.decode()} is beyond the calendar")
    return age


def _reason(fields: Mapping[bytes, bytes]) -> Reason:
    try:
        return Reason(_text(fields, b"reason"))
    except ValueError:
        raise ValueError("its reason is unknown") from None


def _moment(fields: Mapping[bytes, bytes], name: bytes) -> datetime:
    try:
        return from_milliseconds(_number(fields, name))
    except OverflowError:
        raise ValueError(f"its {name.decode()} is not in the calendar") from None
