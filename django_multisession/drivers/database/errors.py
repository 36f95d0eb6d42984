"""What an error of a database means. Its text is never passed on: it may hold values."""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError, OperationalError

from django_multisession.exceptions import OutageKind, StoreUnavailable

#: SQLSTATEs of PostgreSQL by their beginnings, numbers of MariaDB and MySQL, names of SQLite.
_KINDS = {
    OutageKind.TIMED_OUT: ("57014", "55P03", "25P03", 1205, 1969, 3024),
    OutageKind.OVERLOADED: (
        *("53", "40", 1040, 1041, 1203, 1213, 1226),
        *("SQLITE_BUSY", "SQLITE_LOCKED", "PoolTimeout", "TooManyRequests"),
    ),
    OutageKind.UNREACHABLE: ("08", "57P", 1053, 1927, 2002, 2003, 2005, 2006, 2013, 2055, 4031),
}
#: A deadlock, or another transaction that was first.
_TRY_AGAIN = frozenset({"40001", "40P01", 1213})
_NO_TABLE = frozenset({"42P01", 1146})
_NO_LOGIN = frozenset({"28000", "28P01", 1044, 1045})


def code_of(error: BaseException) -> str | int | None:
    """Return what the database calls *error*; None where no database was asked."""
    cause = error.__cause__ or error
    # MySQLdb, PyMySQL
    if cause.args and type(cause.args[0]) is int:
        return cause.args[0]
    # psycopg, psycopg2, SQLite
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if code := getattr(cause, name, None):
            return str(code)
    return None


def is_to_be_sent_again(error: BaseException) -> bool:
    """Did the database undo the command because of another one?"""
    return code_of(error) in _TRY_AGAIN


def outage_of(error: Exception, alias: str) -> StoreUnavailable:
    """Return what to raise for *error*, which a command to the database *alias* met."""
    kind, name = _kind_of(error), type(error.__cause__ or error).__name__
    code = code_of(error)
    told = f"{name}, {code}" if code else name
    what = "refused" if kind is OutageKind.REFUSED else "did not answer"
    advice = _advice(error, alias)
    return StoreUnavailable(f'The database "{alias}" {what} ({told}). {advice}'.rstrip(), kind)


def _kind_of(error: Exception) -> OutageKind:
    code, name = code_of(error), type(error.__cause__ or error).__name__
    for kind, codes in _KINDS.items():
        for each in codes:
            if each in (code, name) or (
                isinstance(each, str) and isinstance(code, str) and code.startswith(each)
            ):
                return kind
    if name == "ConnectionTimeout":
        return OutageKind.TIMED_OUT
    if code is None and isinstance(error, OperationalError | InterfaceError):
        return OutageKind.UNREACHABLE
    return OutageKind.REFUSED


def _advice(error: Exception, alias: str) -> str:
    code = code_of(error)
    if code in _NO_TABLE or (code == "SQLITE_ERROR" and "no such table" in str(error)):
        return f"Run: manage.py migrate --database {alias}"
    if code in _NO_LOGIN:
        return f'Correct USER or PASSWORD of DATABASES["{alias}"].'
    if code in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return "Another connection holds its lock: use WAL."
    return ""


#: What a command may meet.
ERRORS = (DatabaseError, InterfaceError)
