"""Whether two values of an entry are the same: compared as values, never as serialized bytes.

A serializer may add a nonce, a time stamp or a cache to what it writes, so that equal values have
different bytes. And ``True == 1`` in Python, although a stored session distinguishes them.
"""

from __future__ import annotations

import enum
import math
from typing import Any, Final

#: Types whose values can't change and are equal only to values of their own type.
PLAIN_TYPES: Final = frozenset({str, int, float, bool, bytes, type(None)})


class _Absent(enum.Enum):
    ABSENT = "no such entry"


#: Stands for the value of an entry that isn't there.
ABSENT: Final = _Absent.ABSENT


def is_same(this: Any, that: Any) -> bool:
    """Return True if both are the same value.

    The order of a dict isn't a difference. Two objects of a class without ``__eq__`` count as the
    same, because no comparison can detect a change of such an object (see `is_comparable`). A value whose
    comparison raises, or that is nested too deeply to compare, counts as different.
    """
    try:
        return _is_same(this, that)
    except Exception:  # noqa: BLE001  (an __eq__ of the site's may raise anything)
        return False


def is_same_plain(this: Any, that: Any) -> bool:
    """See is_same(): for *this* of a type in `PLAIN_TYPES`, or `ABSENT`."""
    kind = type(this)
    # Two NaNs are the same once they are stored and read back.
    return kind is type(that) and (
        this == that or (kind is float and math.isnan(this) and math.isnan(that))
    )


def is_comparable(value: Any) -> bool:
    """Return False if *value* is, or holds, an object of a class that defines no ``__eq__``."""
    if type(value) in PLAIN_TYPES:
        return True
    if isinstance(value, dict):
        return all(map(is_comparable, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_comparable, value))
    return _defines_equality(type(value))


def _is_same(this: Any, that: Any) -> bool:
    kind = type(this)
    if this is that or kind is not type(that):
        return this is that
    if kind in PLAIN_TYPES:
        return is_same_plain(this, that)
    if isinstance(this, dict):
        return this.keys() == that.keys() and all(_is_same(this[name], that[name]) for name in this)
    if isinstance(this, list | tuple):
        # No map(): it would take a StopIteration of an __eq__ for the end of the list.
        return len(this) == len(that) and all(
            _is_same(one, other) for one, other in zip(this, that, strict=True)
        )
    return not _defines_equality(kind) or bool(this == that)


def _defines_equality(kind: type) -> bool:
    if issubclass(kind, enum.Enum | type):
        return True  # there is one of each
    return getattr(kind, "__eq__", None) is not object.__eq__
