"""What `check()` finds at a database: the table there, its rights, the transactions of requests."""

from __future__ import annotations

import secrets

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_multisession.core.problems import Problem, Severity
from django_multisession.drivers.database.server import Command, DatabaseServer
from django_multisession.exceptions import OutageKind, StoreUnavailable

_TABLE = "django_multisession_session"


def check(server: DatabaseServer) -> list[Problem]:
    """Return what is wrong with the database of *server*; leaves nothing there."""
    try:
        has_table = server.send(Command(_has_table, is_write=False))
        if has_table:
            server.send(Command(_prove_rights))
        else:
            return [_unmigrated(server.alias)]
    except StoreUnavailable as failure:
        return [_refused(failure) if failure.kind is OutageKind.REFUSED else _unreachable(failure)]
    connection = connections[server.alias]
    found = []
    if connection.settings_dict["ATOMIC_REQUESTS"]:
        found.append(_atomic_requests(server.alias))
    if connection.vendor == "sqlite" and not server.send(
        Command(_waits_for_readers, is_write=False)
    ):
        found.append(_no_wal(server.alias))
    return found


def _has_table(connection: BaseDatabaseWrapper) -> bool:
    return _TABLE in connection.introspection.table_names()


def _prove_rights(connection: BaseDatabaseWrapper) -> None:
    """Write a row in each way that sessions are written, and undo it."""
    from django_multisession.database.models import Session

    key = secrets.token_hex(16)
    sessions = Session.objects.using(connection.alias)
    with transaction.atomic(using=connection.alias):
        sessions.create(storage_key=key, record=b"", revision="", touched_ms=0, ends_ms=0)
        sessions.filter(storage_key=key).update(ends_ms=1)
        sessions.filter(storage_key=key).delete()
        transaction.set_rollback(True, using=connection.alias)


def _waits_for_readers(connection: BaseDatabaseWrapper) -> bool:
    """Is it a database in memory, or one whose readers don't wait for a writer?"""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        return cursor.fetchone()[0] in {"wal", "memory"}


def _unreachable(failure: StoreUnavailable) -> Problem:
    return Problem(
        "multisession.W131",
        str(failure),
        "Start it, or correct its entry in DATABASES.",
        Severity.WARNING,
    )


def _unmigrated(alias: str) -> Problem:
    return Problem(
        "multisession.E132",
        f'The database "{alias}" has no table {_TABLE}. No session can be stored.',
        f"Run: manage.py migrate --database {alias}",
    )


def _refused(failure: StoreUnavailable) -> Problem:
    return Problem(
        "multisession.E133",
        str(failure),
        f"Give its user SELECT, INSERT, UPDATE and DELETE on {_TABLE}.",
    )


def _atomic_requests(alias: str) -> Problem:
    return Problem(
        "multisession.W134",
        f'DATABASES["{alias}"] has ATOMIC_REQUESTS. What a view saves in its session is undone with '
        "its transaction.",
        "Leave saving to the response, or give sessions a connection of their own: "
        'MULTISESSION_DATABASE = {"ALIAS": "sessions"}, where DATABASES["sessions"] has the same '
        "options without ATOMIC_REQUESTS.",
        Severity.WARNING,
    )


def _no_wal(alias: str) -> Problem:
    return Problem(
        "multisession.W135",
        f'The SQLite database "{alias}" isn\'t in WAL mode. Requests wait for the lock of each other.',
        f'Set DATABASES["{alias}"]["OPTIONS"] = {{"init_command": "PRAGMA journal_mode=WAL", '
        '"transaction_mode": "IMMEDIATE"}}.',
        Severity.WARNING,
    )
