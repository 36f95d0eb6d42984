"""The statements on a connection: each function sends one."""

from __future__ import annotations

import contextlib
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict
from django.db.utils import IntegrityError

from django_multisession.core.records import Record, Stored, Tombstone, bytes_of_user
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import Page, answer_in_batch, is_of, page_of, read
from django_multisession.drivers.database import rows


def find(
    connection: BaseDatabaseWrapper, key: str, clock_ms: int, *, locks: bool = False
) -> Stored:
    """Return what is stored under *key*; a tombstone only while it lasts.

    In a transaction *locks* has the database show what is there now, and not when it began.
    """
    sql = _locking(connection, rows.FIND) if locks else rows.FIND
    with connection.cursor() as cursor:
        cursor.execute(sql, (key,))
        row = cursor.fetchone()
    if row is None:
        return None
    stored = read(key, SecretBytes(row[0]))
    is_gone = isinstance(stored, Tombstone) and row[1] < rows.gone_before(clock_ms)
    return None if is_gone else stored


def insert(connection: BaseDatabaseWrapper, key: str, record: Record, clock_ms: int) -> bool:
    """Add *record*, unless *key* is taken; no transaction fails at that."""
    ops = connection.ops
    parameters = (*_bound(connection, record, clock_ms), key)
    if connection.features.supports_ignore_conflicts:
        begin = ops.insert_statement(on_conflict=OnConflict.IGNORE)
        end = ops.on_conflict_suffix_sql((), OnConflict.IGNORE, (), ())
        return bool(_execute(connection, f"{begin}{rows.INSERTED}{end}", parameters))
    try:
        with transaction.atomic(using=connection.alias):
            return bool(_execute(connection, f"INSERT INTO{rows.INSERTED}", parameters))
    except IntegrityError:
        return False


def put(
    connection: BaseDatabaseWrapper,
    key: str,
    stored: Record | Tombstone,
    compared: rows.Parameters,
    clock_ms: int,
) -> bool:
    """Put *stored* in the place of what `rows.over` *compared*; return whether that was there."""
    parameters = (*_bound(connection, stored, clock_ms), key, *compared)
    return bool(_execute(connection, rows.OVER, parameters))


def end(connection: BaseDatabaseWrapper, key: str, left: Tombstone, clock_ms: int) -> bool:
    """Leave *left* of anything but a tombstone."""
    parameters = (*_bound(connection, left, clock_ms), key, rows.ANY_TOMBSTONE)
    return bool(_execute(connection, rows.END, parameters))


def clear(connection: BaseDatabaseWrapper, key: str, clock_ms: int) -> None:
    """Remove a tombstone that no purge has removed yet."""
    _execute(connection, rows.CLEAR, (key, rows.OUR_TOMBSTONES, rows.gone_before(clock_ms)))


def withdraw(connection: BaseDatabaseWrapper, key: str, record: Record) -> None:
    """Remove just what the write of *record* has stored."""
    _execute(connection, rows.WITHDRAW, (key, rows.mark_of(record)))


def purge(connection: BaseDatabaseWrapper, now: int, limit: int) -> int:
    """Remove at most *limit* rows, oldest first; skip those that another transaction locks.

    Nothing but the end is asked for: PostgreSQL, which knows little of a table that just grew, then
    takes its index. Where rows aren't locked they are compared again as they are deleted.
    """
    from django_multisession.database.models import Session

    skips = connection.features.has_select_for_update_skip_locked
    sessions = Session.objects.using(connection.alias)
    expired = sessions.filter(ends_ms__lt=rows.gone_before(now))
    with transaction.atomic(using=connection.alias) if skips else contextlib.nullcontext():
        found = expired.select_for_update(skip_locked=True) if skips else expired
        keys = list(found.order_by("ends_ms").values_list("pk", flat=True)[:limit])
        removed = (sessions if skips else expired).filter(pk__in=keys)
        # No row is loaded.
        return removed._raw_delete(connection.alias) if keys else 0  # noqa: SLF001  (nothing public does it)


def page(connection: BaseDatabaseWrapper, cursor: str, limit: int) -> Page:
    """Return the records of *limit* rows, in the order of the primary key."""
    from django_multisession.database.models import Session

    rows_ = Session.objects.using(connection.alias).filter(pk__gt=int(cursor or 0)).order_by("pk")
    found = list(rows_.values_list("pk", "storage_key", "record")[:limit])
    raws = [(key, SecretBytes(raw)) for _, key, raw in found]
    return page_of(raws, str(found[-1][0]) if found else "")


def count_expired(connection: BaseDatabaseWrapper, now: int) -> int:
    """Return how many rows a purge would remove."""
    with connection.cursor() as cursor:
        cursor.execute(rows.COUNT_EXPIRED, (rows.gone_before(now),))
        return int(cursor.fetchone()[0])


def of_user(
    connection: BaseDatabaseWrapper, user_id: str, now: int, cursor: str, limit: int
) -> Page:
    """Return one page of a user's records."""
    user = rows.text_of(bytes_of_user(user_id))
    with connection.cursor() as cursor_of_database:
        cursor_of_database.execute(rows.OF_USER, (user, now, cursor, limit))
        found = [(key, SecretBytes(raw)) for key, raw in cursor_of_database.fetchall()]
    following = found[-1][0] if len(found) == limit else ""
    return page_of(found, following, is_of(user_id, now))


def end_many(
    connection: BaseDatabaseWrapper,
    keys: rows.Parameters,
    left: Tombstone,
    user_id: str | None,
    clock_ms: int,
) -> int:
    """Leave *left* of anything but tombstones under *keys*, of *user_id* or of anyone; return of how many."""
    # In one order: ends of the same sessions don't wait for each other's rows.
    keys = tuple(sorted(set(keys)))
    sql = rows.END_MANY + rows.among(keys)
    parameters = (*_bound(connection, left, clock_ms), rows.ANY_TOMBSTONE, *keys)
    if user_id is not None:
        sql += rows.ONE_USER
        parameters = (*parameters, rows.text_of(bytes_of_user(user_id)))
    return _execute(connection, sql, parameters)


def answers_after_end(
    connection: BaseDatabaseWrapper, keys: rows.Parameters, left: Tombstone, clock_ms: int
) -> list[bool | Tombstone]:
    """Return what `end_many` has left under each of *keys*, or found there."""
    sql = rows.FIND_MANY + rows.among(keys)
    with connection.cursor() as cursor:
        cursor.execute(_locking(connection, sql), keys)
        found = {key: (SecretBytes(raw), ends_ms) for key, raw, ends_ms in cursor.fetchall()}
    answers: list[bool | Tombstone] = []
    for key in keys:
        raw, ends_ms = found.get(key, (None, 0))
        answer = answer_in_batch(key, raw, left)
        is_gone = isinstance(answer, Tombstone) and ends_ms < rows.gone_before(clock_ms)
        answers.append(False if is_gone else answer)
    return answers


def _locking(connection: BaseDatabaseWrapper, sql: str) -> str:
    """Return *sql* so that it shows what is there now, and not when the transaction began."""
    if connection.in_atomic_block and connection.features.has_select_for_update:
        return f"{sql} {connection.ops.for_update_sql()}"
    return sql


def _bound(
    connection: BaseDatabaseWrapper, stored: Record | Tombstone, clock_ms: int
) -> rows.Parameters:
    raw, *others = rows.values_of(stored, clock_ms)
    return (connection.Database.Binary(raw), *others)  # type: ignore[attr-defined]  # each backend has it


def _execute(connection: BaseDatabaseWrapper, sql: str, parameters: tuple[Any, ...]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)
