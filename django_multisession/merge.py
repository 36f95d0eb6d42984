"""Compare the entries of one session at two moments, and merge what two requests made of them.

Compared as serialized, because that is what would be stored: ``True == 1`` in Python, and they are
not the same session.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

#: Entries whose names begin so say whose session it is. They change together or not at all.
AUTH_PREFIX = "_auth_"
#: The entry in which ``django.contrib.auth`` keeps the user's id.
USER_ID_ENTRY = "_auth_user_id"

Fingerprint = Callable[[dict[str, Any]], bytes]


class _Absent(enum.Enum):
    ABSENT = "no such entry"


#: What a resolver is given for an entry that one side has not, and returns to have it deleted.
ABSENT: Final = _Absent.ABSENT

#: Makes one value of an entry that two requests changed: ``resolve(base, theirs, mine)``.
Resolver = Callable[[Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What became of two requests' changes.

    Attributes:
        entries: The session's entries now.
        resolved: Names of entries that both had changed, and a resolver made one of.
        lost: Names of entries that both had changed, and of which the other request's value went.
    """

    entries: dict[str, Any] = dataclasses.field(repr=False)
    resolved: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def changed_entries(
    base: Mapping[str, Any], mine: Mapping[str, Any], fingerprint: Fingerprint
) -> dict[str, Any]:
    """Return the entries of *mine* that *base* has not, or has with another value."""
    return {
        name: value
        for name, value in mine.items()
        if not _is_same(name, base.get(name, ABSENT), value, fingerprint)
    }


def merged(
    base: Mapping[str, Any],
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    fingerprint: Fingerprint,
    resolvers: Mapping[str, Resolver],
) -> Merge:
    """Return *theirs* with what *mine* changed, added and deleted since both were *base*.

    Where both changed one entry, and not to the same, its resolver decides; without one, mine wins:
    it is saved later.

    Raises:
        Exception: Whatever a resolver raised, with a note that names the entry.
    """
    entries: dict[str, Any] = {}
    resolved: list[str] = []
    lost: list[str] = []
    for name in {**theirs, **mine, **base}:
        before, their, my = (side.get(name, ABSENT) for side in (base, theirs, mine))
        if _is_same(name, before, my, fingerprint):
            value = their
        elif _is_same(name, before, their, fingerprint) or _is_same(name, their, my, fingerprint):
            value = my
        elif name in resolvers:
            value = _resolved(name, resolvers[name], before, their, my)
            resolved.append(name)
        else:
            value = my
            lost.append(name)
        if value is not ABSENT:
            entries[name] = value
    return Merge(entries=entries, resolved=tuple(resolved), lost=tuple(lost))


def replaced(
    base: Mapping[str, Any],
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    fingerprint: Fingerprint,
) -> Merge:
    """Return *mine* in the place of *theirs*, because it was cleared: every change of theirs goes."""
    lost = []
    for name in {**theirs, **base}:
        before, their, my = (side.get(name, ABSENT) for side in (base, theirs, mine))
        is_kept = _is_same(name, before, their, fingerprint) or _is_same(
            name, their, my, fingerprint
        )
        if not is_kept:
            lost.append(name)
    return Merge(entries=dict(mine), lost=tuple(lost))


def are_same(these: Mapping[str, Any], those: Mapping[str, Any], fingerprint: Fingerprint) -> bool:
    """Have both the same entries with the same values?"""
    return these.keys() == those.keys() and not changed_entries(these, those, fingerprint)


def auth_entries(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that say whose session it is."""
    return {name: value for name, value in entries.items() if str(name).startswith(AUTH_PREFIX)}


def user_id(entries: Mapping[str, Any]) -> str | None:
    """Return the user that *entries* belong to, as text, or None for an anonymous session."""
    value = entries.get(USER_ID_ENTRY)
    return None if value is None else str(value)


def _is_same(name: str, this: Any, that: Any, fingerprint: Fingerprint) -> bool:
    if this is ABSENT or that is ABSENT:
        return this is that
    return fingerprint({name: this}) == fingerprint({name: that})


def _resolved(name: str, resolve: Resolver, base: Any, theirs: Any, mine: Any) -> Any:
    try:
        return resolve(base, theirs, mine)
    except Exception as error:
        error.add_note(f"While MULTISESSION_RESOLVERS[{name!r}] merged two requests' changes.")
        raise
