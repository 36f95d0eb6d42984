from __future__ import annotations

from typing import Any

import pytest
from django.contrib import auth
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.entries import Entries
from django_multisession.core.merging import (
    Merge,
    auth_entries,
    changed_names,
    merged,
    replaced,
    user_id,
)
from django_multisession.core.values import ABSENT, is_same
from django_multisession.testing.rows import for_each

_entries = st.dictionaries(
    st.sampled_from("abcde"), st.none() | st.booleans() | st.integers(0, 2) | st.just([1])
)


class Plain:
    """Defines no ``__eq__``: nothing can tell whether one changed."""


def changes_of(base: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    """Return what a request changed that made *mine* of *base*."""
    return {name: mine.get(name, ABSENT) for name in changed_names(base, mine)}


def merge(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any], **resolvers: Any
) -> Merge:
    return merged(base, theirs, changes_of(base, mine), resolvers)


def are_same(these: dict[str, Any], those: dict[str, Any]) -> bool:
    return not changed_names(these, those)


# What changed


@for_each(
    ("base", "mine", "changed"),
    [
        ({}, {}, set()),
        ({"a": 1}, {"a": 1}, set()),
        ({"a": 1}, {"a": 2}, {"a"}),
        ({}, {"a": None}, {"a"}),
        ({"a": 1}, {}, {"a"}),
        ({"a": None}, {}, {"a"}),
        ({"a": 1, "b": [1]}, {"a": 1, "b": [1, 2], "c": 3}, {"b", "c"}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, {"a"}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, set()),
        # As a stored session tells them apart.
        ({"a": 1}, {"a": True}, {"a"}),
        ({"a": 1}, {"a": 1.0}, {"a"}),
        ({"a": [1, 2]}, {"a": (1, 2)}, {"a"}),
    ],
)
def test_the_changed_names_are_those_that_are_new_or_gone_or_have_another_value(
    base: dict[str, Any], mine: dict[str, Any], changed: set[str]
) -> None:
    assert changed_names(base, mine) == changed
    assert changed_names(mine, base) == changed


@given(_entries)
def test_nothing_changed_against_itself(entries: dict[str, Any]) -> None:
    assert changed_names(entries, dict(entries)) == set()
    # Set again to what it was before.
    assert changed_names(entries, dict(entries), entries.keys()) == set()


@given(_entries)
def test_everything_changed_against_nothing(entries: dict[str, Any]) -> None:
    assert changed_names({}, entries) == changed_names(entries, {}) == entries.keys()


@given(base=_entries, mine=_entries)
def test_the_changes_over_the_base_make_mine_again(
    base: dict[str, Any], mine: dict[str, Any]
) -> None:
    assert are_same(merge(base, base, mine).entries, mine)


@for_each("wrap", [lambda value: value, lambda value: [value]])
def test_a_value_that_cannot_be_compared_changed_exactly_if_it_was_written(wrap: Any) -> None:
    base, mine = {"a": wrap(Plain())}, {"a": wrap(Plain())}
    assert changed_names(base, mine) == set()
    assert changed_names(base, mine, {"b"}) == set()
    assert changed_names(base, mine, {"a"}) == {"a"}


def test_an_entry_that_was_written_and_is_in_neither_is_no_change() -> None:
    assert changed_names({}, {}, {"a"}) == set()


# Whose session it is


def test_the_entries_of_djangos_login_are_auth_entries() -> None:
    of_login = {
        auth.SESSION_KEY: "7",
        auth.BACKEND_SESSION_KEY: "backend",
        auth.HASH_SESSION_KEY: "hash",
    }
    others = {"auth": 1, "cart": [], "_session_expiry": 5, "user_auth_": 2, "": 3}
    assert auth_entries({**of_login, **others}) == of_login


def test_a_look_for_the_auth_entries_hands_out_no_other_value() -> None:
    stored: dict[Any, Any] = {auth.SESSION_KEY: "7", "cart": [], 1: []}
    entries = Entries(stored)
    assert auth_entries(entries) == {auth.SESSION_KEY: "7"}
    assert not entries.handed_out


def test_the_user_is_who_django_says() -> None:
    assert user_id({auth.SESSION_KEY: "7", "user_id": "8"}) == "7"


@for_each(("value", "expected"), [("7", "7"), (7, "7"), (0, "0"), ("", ""), (None, None)])
def test_a_user_id_is_text_or_none(value: object, expected: str | None) -> None:
    assert user_id({auth.SESSION_KEY: value}) == expected


def test_a_session_without_the_entry_has_no_user() -> None:
    assert user_id({"cart": []}) is None


# Merge


def test_what_both_sides_changed_apart_is_merged() -> None:
    base = {"kept": 1, "mine": 1, "theirs": 1, "both": 1, "i_delete": 1, "they_delete": 1}
    theirs = {"kept": 1, "mine": 1, "theirs": 2, "both": 2, "i_delete": 1, "they_add": 1}
    mine = {"kept": 1, "mine": 3, "theirs": 1, "both": 3, "they_delete": 1, "i_add": 1}
    made = merge(base, theirs, mine)
    assert made.entries == {
        "kept": 1,
        "mine": 3,
        "theirs": 2,
        "both": 3,
        "they_add": 1,
        "i_add": 1,
    }
    assert (made.resolved, made.lost) == ((), ("both",))


def test_a_request_that_changed_nothing_takes_theirs() -> None:
    base, theirs = {"a": 1, "gone": 1}, {"a": 2, "new": 1}
    assert merge(base, theirs, base) == Merge(entries=theirs)


def test_what_both_made_the_same_is_not_lost() -> None:
    base, both = {"a": 1, "gone": 1}, {"a": 2, "new": 3}
    assert merge(base, both, dict(both)) == Merge(entries=both)


def test_a_merge_changes_nothing_that_it_was_given() -> None:
    base, theirs, changes = {"a": 1}, {"a": 1, "b": 1}, {"a": 2, "b": ABSENT}
    made = merged(base, theirs, changes, {})
    assert made.entries == {"a": 2}
    assert (base, theirs) == ({"a": 1}, {"a": 1, "b": 1})
    assert changes == {"a": 2, "b": ABSENT}


def test_a_merge_and_what_it_shows_hold_no_entry() -> None:
    made = merge({}, {"card": "4111"}, {"name": "Ada"})
    assert made.entries == {"card": "4111", "name": "Ada"}
    for text in (repr(made), str(made.entries), repr(made.entries)):
        assert "4111" not in text


# Resolvers


@for_each(
    ("base", "theirs", "mine"),
    [
        ({"a": 1}, {"a": 2}, {"a": 3}),
        ({}, {"a": 2}, {"a": 3}),
        ({"a": 1}, {}, {"a": 3}),
        ({"a": 1}, {"a": 2}, {}),
        # Two requests that each add 1 to a counter set an equal value.
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({}, {"a": 2}, {"a": 2}),
    ],
)
def test_the_resolver_of_an_entry_that_both_changed_decides(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    given = []

    def resolve(*sides: Any) -> Any:
        given.append(sides)
        return "decided"

    made = merge(base, theirs, mine, a=resolve)
    assert made == Merge(entries={"a": "decided"}, resolved=("a",))
    assert given == [tuple(side.get("a", ABSENT) for side in (base, theirs, mine))]


def test_an_entry_whose_resolver_says_that_there_is_none_is_deleted() -> None:
    made = merge({"a": 1}, {"a": 2}, {"a": 3}, a=lambda *_sides: ABSENT)
    assert made == Merge(entries={}, resolved=("a",))


def refuse(*_sides: Any) -> Any:
    pytest.fail("it was asked")


def test_an_entry_that_both_deleted_is_gone_and_its_resolver_is_not_asked() -> None:
    made = merge({"a": 1, "b": 1}, {"b": 1}, {"b": 1}, a=refuse)
    assert made == Merge(entries={"b": 1})


def test_a_resolver_is_not_asked_where_only_one_side_changed() -> None:
    base, changed = {"a": 1, "b": 1}, {"a": 2, "b": 1}
    for theirs, mine in [(changed, base), (base, changed), (base, {}), ({}, base)]:
        assert merge(base, theirs, mine, a=refuse, b=refuse).resolved == ()


def test_a_resolver_that_raises_names_the_entry_and_no_value() -> None:
    def fail(*_sides: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        merge({"a": 1}, {"a": 2}, {"a": "secret"}, a=fail)
    (note,) = caught.value.__notes__
    assert "MULTISESSION_CONFLICT_RESOLVERS['a']" in note
    assert "secret" not in note


# What is lost


def same_in(name: str, this: dict[str, Any], that: dict[str, Any]) -> bool:
    return is_same(this.get(name, ABSENT), that.get(name, ABSENT))


@given(base=_entries, theirs=_entries, mine=_entries)
def test_a_merge_holds_every_change_of_theirs_but_what_it_names_as_lost(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    made = merge(base, theirs, mine)
    for name in {**base, **theirs, **mine}:
        i_changed = not same_in(name, base, mine)
        they_changed = not same_in(name, base, theirs)
        assert same_in(name, made.entries, mine if i_changed else theirs)
        is_lost = i_changed and they_changed and not same_in(name, mine, theirs)
        assert (name in made.lost) == is_lost


@given(base=_entries, theirs=_entries, mine=_entries)
def test_a_cleared_session_is_mine_and_names_every_change_of_theirs_as_lost(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    made = replaced(base, theirs, mine)
    assert made.entries == mine
    assert made.entries is not mine
    for name in {**base, **theirs, **mine}:
        they_changed = not same_in(name, base, theirs)
        assert (name in made.lost) == (they_changed and not same_in(name, mine, theirs))
    assert made.resolved == ()
