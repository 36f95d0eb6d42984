"""Merge what two requests made of one session's entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from django_multisession.core.secret import SecretEntries
from django_multisession.core.values import ABSENT, is_comparable, is_same

#: Entries whose names begin so say whose session it is. They change together or not at all.
AUTH_PREFIX = "_auth_"
#: The entry in which ``django.contrib.auth`` keeps the user's id.
USER_ID_ENTRY = "_auth_user_id"

#: Makes one value of an entry that two requests changed: ``resolve(base, theirs, mine)``.
Resolver = Callable[[Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What became of two requests' changes.

    Attributes:
        entries: The session's entries now.
        resolved: Names of entries that both changed, and a resolver made one value of.
        lost: Names of entries that both changed, and of which the other request's value is gone.
    """

    entries: dict[str, Any] = dataclasses.field(repr=False)
    resolved: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def changed_names(
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    written: Collection[str] = (),
    *,
    among: Collection[str] | None = None,
) -> set[str]:
    """Return the names of the entries that differ between *base* and *mine*.

    Args:
        base: Entries as they were stored.
        mine: Entries as they would be read back if they were stored now.
        written: Names that were set or deleted. A value that can't be compared (see
            `values.is_comparable`) changed only if its name is among them.
        among: Names to look at; None for all.
    """
    return {
        name
        for name in ({**base, **mine} if among is None else among)
        if not is_same(base.get(name, ABSENT), mine.get(name, ABSENT))
        or (name in written and not is_comparable(mine.get(name)))
    }


def merged(
    base: Mapping[str, Any],
    theirs: Mapping[str, Any],
    changes: Mapping[str, Any],
    resolvers: Mapping[str, Resolver],
) -> Merge:
    """Return *theirs* with *changes*, which were made while both were *base*.

    A resolver is called for every entry that both changed, to equal values too: two requests that
    each add 1 to a counter both arrive at the same number. An entry that both deleted is gone.
    Without a resolver the change that is saved later wins.

    Args:
        base: Entries that both requests began with.
        theirs: What the other request stored.
        changes: Name → this request's value, `ABSENT` for an entry that it deleted.
        resolvers: Name → what merges two values of that entry.

    Raises:
        Exception: Whatever a resolver raised, with a note that names the entry.
    """
    entries = SecretEntries(theirs)
    resolved: list[str] = []
    lost: list[str] = []
    try:
        for name, my in changes.items():
            before, their = base.get(name, ABSENT), theirs.get(name, ABSENT)
            value = my
            if not is_same(before, their):
                if name in resolvers and not (their is ABSENT and my is ABSENT):
                    value = _resolved(name, resolvers[name], before, their, my)
                    resolved.append(name)
                elif not is_same(their, my):
                    lost.append(name)
            if value is ABSENT:
                entries.pop(name, None)
            else:
                entries[name] = value
        return Merge(entries=entries, resolved=tuple(resolved), lost=tuple(lost))
    finally:
        # An error reporter walks through what the frames of a failed resolver hold.
        del base, theirs, changes, entries


def replaced(base: Mapping[str, Any], theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> Merge:
    """Return *mine* in place of *theirs*, because it was cleared: every change of theirs is gone."""
    lost = [
        name
        for name in {**theirs, **base}
        if not is_same(base.get(name, ABSENT), theirs.get(name, ABSENT))
        and not is_same(theirs.get(name, ABSENT), mine.get(name, ABSENT))
    ]
    return Merge(entries=SecretEntries(mine), lost=tuple(lost))


def auth_entries(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that say whose session it is."""
    names = [name for name in entries if str(name).startswith(AUTH_PREFIX)]
    return SecretEntries((name, entries[name]) for name in names)


def user_id(entries: Mapping[str, Any]) -> str | None:
    """Return the user that *entries* belong to, as text, or None for an anonymous session."""
    value = entries.get(USER_ID_ENTRY)
    return None if value is None else str(value)


def _resolved(name: str, resolve: Resolver, base: Any, theirs: Any, mine: Any) -> Any:
    try:
        return resolve(base, theirs, mine)
    except Exception as error:
        error.add_note(
            f"While MULTISESSION_CONFLICT_RESOLVERS[{name!r}] merged two requests' changes."
        )
        raise
