"""Records that differ from what a store wrote: what a writer in the store, or another write, makes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_multisession.core.records import (
    NEVER,
    Facts,
    Record,
    assemble,
    encode_signed,
    new_revision,
    to_milliseconds,
)


def facts_of(record: Record) -> Facts:
    """Return what *record* says beside its revision, its payload and its signature."""
    return Facts(
        created_ms=record.created_ms,
        began_ms=record.began_ms,
        touched_ms=record.touched_ms,
        idle_ms=record.idle_ms,
        deadline_ms=record.deadline_ms,
        user=record.user,
        authenticated_ms=record.authenticated_ms,
        series=record.series,
    )


def changed(record: Record, **changes: Any) -> Record:
    """Return *record* with *changes*, and with the signature that it had.

    Args:
        record: What was stored.
        changes: Fields of `Facts`; ``payload``, ``revision`` and ``earlier``; ``user_id`` as text;
            ``idle_age`` in seconds; ``touched_at``, ``began_at``, ``created_at`` and
            ``absolute_deadline_at`` as datetimes.
    """
    payload = changes.pop("payload", record.payload)
    revision = changes.pop("revision", record.revision)
    earlier = changes.pop("earlier", record.earlier)
    facts = facts_of(record)._replace(**_in_milliseconds(changes))
    signed = encode_signed(facts, payload, record.key_id)
    lineage = revision + earlier
    return assemble(facts, record.signature, lineage + signed[len(lineage) :])


def next_write(record: Record, **changes: Any) -> Record:
    """Return what a later write over *record* stores, with *changes*; see `changed`."""
    earlier = (record.revision + record.earlier)[: len(record.earlier)]
    return changed(record, revision=new_revision(), earlier=earlier, **changes)


def _in_milliseconds(changes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in changes.items():
        match name:
            case "user_id":
                found["user"] = None if value is None else value.encode("utf-8", "surrogatepass")
            case "idle_age":
                found["idle_ms"] = NEVER if value is None else value * 1000
            case "absolute_deadline_at":
                found["deadline_ms"] = NEVER if value is None else to_milliseconds(value)
            case "touched_at" | "began_at" | "created_at" if isinstance(value, datetime):
                found[name.replace("_at", "_ms")] = to_milliseconds(value)
            case _:
                found[name] = value
    return found
