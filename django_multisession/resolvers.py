"""Functions that merge an entry which two requests changed: for ``MULTISESSION_CONFLICT_RESOLVERS``.

A resolver receives the value that both requests had read (*base*), the value that the other request
has stored (*theirs*) and this request's value (*mine*). It returns the value to store. `ABSENT`
stands for "no such entry", and returning it deletes the entry. A resolver must not change its
arguments and must do no I/O, because it is called again if a third request saves in between.

    def longest(base, theirs, mine):
        return max((value for value in (theirs, mine) if value is not ABSENT), key=len)
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from django_multisession.core.merging import Resolver
from django_multisession.core.values import ABSENT

__all__ = ["ABSENT", "Resolver", "keep_theirs", "sum_of_changes", "union"]


def union(base: Any, theirs: Any, mine: Any) -> Any:
    """Keep what either request added to a list or a dict, and drop what either removed.

    Of a list, each element that both have is there once; the other request's order comes first. Of
    a dict, a key that both changed gets the union of its values where these are lists or dicts
    again. What is no list and no dict on both sides is the later save's. Elements and values are
    compared by ``==``: ``True`` is ``1`` here.
    """
    sides = [side for side in (base, theirs, mine) if side is not ABSENT]
    if all(isinstance(side, Mapping) for side in sides):
        return _union_of_dicts(*({} if side is ABSENT else side for side in (base, theirs, mine)))
    if all(isinstance(side, list | tuple) for side in sides):
        return _union_of_lists(*([] if side is ABSENT else side for side in (base, theirs, mine)))
    return mine


def sum_of_changes(base: Any, theirs: Any, mine: Any) -> Any:
    """Add what both requests added to a number; one that is not there counts as 0.

    What is no number on both sides is the later save's.
    """
    before, their, my = (0 if side is ABSENT else side for side in (base, theirs, mine))
    if not all(_is_number(value) for value in (before, their, my)):
        return mine
    return their + (my - before)


def keep_theirs(base: Any, theirs: Any, mine: Any) -> Any:  # noqa: ARG001  (a resolver's arguments)
    """Keep what was stored first."""
    return theirs


def _is_number(value: Any) -> bool:
    # Decimal is one too; a flag isn't a counter.
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _union_of_lists(base: Iterable[Any], theirs: Iterable[Any], mine: Iterable[Any]) -> list[Any]:
    # By comparing, not by hashing: elements may be lists and dicts.
    before, my = list(base), list(mine)
    kept = [element for element in theirs if element in my or element not in before]
    added = []
    for element in my:
        if element not in before and element not in kept and element not in added:
            added.append(element)
    return kept + added


def _union_of_dicts(
    base: Mapping[str, Any], theirs: Mapping[str, Any], mine: Mapping[str, Any]
) -> dict[str, Any]:
    united = {}
    for name in {**theirs, **mine}:
        before, their, my = (side.get(name, ABSENT) for side in (base, theirs, mine))
        if my == before:
            value = their
        elif their in (before, my):
            value = my
        else:
            value = union(before, their, my)
        if value is not ABSENT:
            united[name] = value
    return united
