"""The state of a session is one frozen value, and a session keeps nothing beside it unnoticed."""

from __future__ import annotations

import dataclasses
import typing
from datetime import datetime
from typing import Any

import pytest

from django_multisession.core.keys import Verified
from django_multisession.core.records import Record, Tombstone
from django_multisession.core.secret import SecretBytes
from django_multisession.engines.memory import SessionStore
from django_multisession.session import state
from django_multisession.session.state import (
    Ended,
    New,
    Sent,
    Session,
    Snapshot,
    Stored,
    Unreachable,
    Unread,
)
from django_multisession.testing.rows import for_each

STATES = typing.get_args(state.State)
FROZEN = (*STATES, Snapshot, Sent, Record, Tombstone, Verified)
#: What can't change in place. A tuple can't where what it holds can't.
VALUES = {str, int, bool, bytes, SecretBytes, datetime, type(None), *FROZEN}

#: What a session keeps for a request. A flag that can be derived from the others is not one of them.
ATTRIBUTES = {
    "site": "what the steps ask of their surroundings",
    "state": "all that is known of the stored session",
    "entries": "what the request reads and changes",
    "admission": "what its login was granted before it is stored",
    "source_failed_at": "when the engine that the site left last gave no answer",
    "said": "what code assigned to modified",
    "said_at": "and when",
    "counts_as_use": "what code assigned to counts_as_use",
    "came_at": "when the request came",
    "came_with": "the storage keys that it came with",
    "login_ms": "when code logged its user in",
    "authenticated_ms": "when code last authenticated its user again",
    "events": "what happened, to be sent",
}


def types_in(hint: Any) -> set[Any]:
    """Return the types that a value of type *hint* is made of."""
    arguments = [each for each in typing.get_args(hint) if each is not ...]
    if not arguments:
        return {hint}
    origin = typing.get_origin(hint)
    containers = {origin} if isinstance(origin, type) and not _is_union(hint) else set()
    return containers.union(*map(types_in, arguments))


def _is_union(hint: Any) -> bool:
    return type(int | str) in (type(hint), typing.get_origin(hint))


def test_the_states_are_the_five_of_the_picture() -> None:
    assert set(STATES) == {Unread, New, Stored, Ended, Unreachable}
    assert all(each.__name__ in (state.__doc__ or "") for each in STATES)


def names_in(kind: Any) -> list[str]:
    """Return the names of what *kind* holds: a tuple or a frozen dataclass."""
    if issubclass(kind, tuple):
        return list(kind._fields)
    return [field.name for field in dataclasses.fields(kind)]


@for_each("kind", FROZEN)
def test_a_state_and_what_it_is_made_of_are_frozen(kind: Any) -> None:
    names = names_in(kind)
    if issubclass(kind, tuple):
        value = kind._make([None] * len(names))
    else:
        assert kind.__dataclass_params__.frozen
        value = object.__new__(kind)
    for name in [*names, "another"]:
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            setattr(value, name, None)


@for_each("kind", FROZEN)
def test_a_state_holds_nothing_that_can_change_in_place(kind: Any) -> None:
    hints = typing.get_type_hints(kind)
    held = set().union(*(types_in(hints[name]) for name in names_in(kind)))
    assert {each for each in held if not issubclass(each, str)} <= VALUES | {tuple}


@for_each("kind", FROZEN)
def test_no_state_holds_what_an_error_reporter_would_show(kind: Any) -> None:
    """It walks through tuples, whatever they show of themselves."""
    if issubclass(kind, tuple):
        texts = [
            name for name, hint in typing.get_type_hints(kind).items() if str in types_in(hint)
        ]
        # Storage keys are not secret. Session keys are: they lie in `Verified`, which is no tuple.
        assert set(texts) <= {"place", "successor"}


def test_a_session_has_exactly_these_attributes() -> None:
    assert set(Session.__slots__) - {"__weakref__"} == set(ATTRIBUTES)
    session = SessionStore()._inner
    assert all(hasattr(session, name) for name in ATTRIBUTES)
    with pytest.raises(AttributeError):
        session.another = True  # type: ignore[attr-defined]  # it has no such one


def test_a_session_without_a_key_begins_as_new_and_asks_nothing() -> None:
    session = SessionStore()._inner
    assert session.state == New()
    assert session.entries is None
    assert not session.is_marked()
    assert not session.is_modified()
