"""Compare the entries of one session at two moments, as serialized: what did this request change?

Serialized, because that is what would be stored: ``True == 1`` in Python, and they are not the
same session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: Entries whose names begin so say whose session it is. They change together or not at all.
AUTH_PREFIX = "_auth_"
#: The entry in which ``django.contrib.auth`` keeps the user's id.
USER_ID_ENTRY = "_auth_user_id"

Fingerprint = Callable[[dict[str, Any]], bytes]


def changed_entries(
    base: Mapping[str, Any], mine: Mapping[str, Any], fingerprint: Fingerprint
) -> dict[str, Any]:
    """Return the entries of *mine* that *base* has not, or has with another value."""
    return {
        name: value
        for name, value in mine.items()
        if name not in base or fingerprint({name: base[name]}) != fingerprint({name: value})
    }


def merged(
    base: Mapping[str, Any],
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    fingerprint: Fingerprint,
) -> dict[str, Any]:
    """Return *theirs* with what *mine* changed, added and deleted since both were *base*.

    Where both changed one entry, mine wins: it is saved later.
    """
    kept = {name: value for name, value in theirs.items() if name not in base or name in mine}
    return kept | changed_entries(base, mine, fingerprint)


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
