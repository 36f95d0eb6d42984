from __future__ import annotations

from typing import Any

import pytest
from django.contrib import auth
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.merge import (
    ABSENT,
    Merge,
    are_same,
    auth_entries,
    changed_entries,
    merged,
    replaced,
    user_id,
)

_entries = st.dictionaries(
    st.sampled_from("abcde"), st.none() | st.booleans() | st.integers(0, 2) | st.just([1])
)


def fingerprint(entries: dict[str, Any]) -> bytes:
    return bytes(JSONSerializer().dumps(entries))


@pytest.mark.parametrize(
    ("base", "mine", "changed"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({}, {"a": None}, {"a": None}),
        ({"a": 1}, {}, {}),
        ({"a": 1, "b": [1]}, {"a": 1, "b": [1, 2], "c": 3}, {"b": [1, 2], "c": 3}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, {"a": {"b": {"c": 2}}}),
        # As serialized, for that is what would be stored.
        ({"a": 1}, {"a": True}, {"a": True}),
        ({"a": 1}, {"a": 1.0}, {"a": 1.0}),
        ({"a": [1, 2]}, {"a": (1, 2)}, {}),
    ],
)
def test_changed_entries_are_those_that_are_new_or_have_another_value(
    base: dict[str, Any], mine: dict[str, Any], changed: dict[str, Any]
) -> None:
    found = changed_entries(base, mine, fingerprint)
    assert fingerprint(found) == fingerprint(changed)


@given(_entries)
def test_nothing_changed_against_itself(entries: dict[str, Any]) -> None:
    assert changed_entries(entries, dict(entries), fingerprint) == {}


@given(_entries)
def test_everything_changed_against_nothing(entries: dict[str, Any]) -> None:
    assert changed_entries({}, entries, fingerprint) == entries


@given(base=_entries, mine=_entries)
def test_the_changes_over_the_base_make_mine_again(
    base: dict[str, Any], mine: dict[str, Any]
) -> None:
    changed = changed_entries(base, mine, fingerprint)
    kept = {name: value for name, value in base.items() if name in mine}
    merged = kept | changed
    assert {name: fingerprint({name: merged[name]}) for name in merged} == {
        name: fingerprint({name: mine[name]}) for name in mine
    }


def test_the_entries_of_djangos_login_are_auth_entries() -> None:
    of_login = {
        auth.SESSION_KEY: "7",
        auth.BACKEND_SESSION_KEY: "backend",
        auth.HASH_SESSION_KEY: "hash",
    }
    others = {"auth": 1, "cart": [], "_session_expiry": 5, "user_auth_": 2, "": 3}
    assert auth_entries({**of_login, **others}) == of_login


def test_the_user_is_who_django_says() -> None:
    assert user_id({auth.SESSION_KEY: "7", "user_id": "8"}) == "7"


@pytest.mark.parametrize(
    ("value", "expected"), [("7", "7"), (7, "7"), (0, "0"), ("", ""), (None, None)]
)
def test_a_user_id_is_text_or_nobody(value: object, expected: str | None) -> None:
    assert user_id({auth.SESSION_KEY: value}) == expected


def test_a_session_without_a_user_is_nobodys() -> None:
    assert user_id({"cart": []}) is None


def test_what_both_sides_changed_apart_is_merged() -> None:
    base = {"kept": 1, "mine": 1, "theirs": 1, "both": 1, "i_delete": 1, "they_delete": 1}
    theirs = {"kept": 1, "mine": 1, "theirs": 2, "both": 2, "i_delete": 1, "they_add": 1}
    mine = {"kept": 1, "mine": 3, "theirs": 1, "both": 3, "they_delete": 1, "i_add": 1}
    made = merged(base, theirs, mine, fingerprint, {})
    assert made.entries == {
        "kept": 1,
        "mine": 3,
        "theirs": 2,
        "both": 3,
        "they_add": 1,
        "i_add": 1,
    }
    assert (made.resolved, made.lost) == ((), ("both",))


def test_whoever_changed_nothing_takes_theirs() -> None:
    base, theirs = {"a": 1, "gone": 1}, {"a": 2, "new": 1}
    assert merged(base, theirs, base, fingerprint, {}) == Merge(entries=theirs)


def test_what_both_made_the_same_is_lost_by_nobody() -> None:
    base, both = {"a": 1, "gone": 1}, {"a": 2, "new": 3}
    assert merged(base, both, dict(both), fingerprint, {}) == Merge(entries=both)


@pytest.mark.parametrize(
    ("base", "theirs", "mine"),
    [
        ({"a": 1}, {"a": 2}, {"a": 3}),
        ({}, {"a": 2}, {"a": 3}),
        ({"a": 1}, {}, {"a": 3}),
        ({"a": 1}, {"a": 2}, {}),
    ],
)
def test_the_resolver_of_an_entry_that_both_changed_decides(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    given = []

    def resolve(*sides: Any) -> Any:
        given.append(sides)
        return "decided"

    made = merged(base, theirs, mine, fingerprint, {"a": resolve})
    assert made == Merge(entries={"a": "decided"}, resolved=("a",))
    assert given == [tuple(side.get("a", ABSENT) for side in (base, theirs, mine))]


def test_an_entry_whose_resolver_says_that_there_is_none_is_deleted() -> None:
    made = merged({"a": 1}, {"a": 2}, {"a": 3}, fingerprint, {"a": lambda *_sides: ABSENT})
    assert made == Merge(entries={}, resolved=("a",))


def test_a_resolver_is_not_asked_where_only_one_side_changed() -> None:
    def refuse(*_sides: Any) -> Any:
        pytest.fail("it was asked")

    base, changed = {"a": 1, "b": 1}, {"a": 2, "b": 1}
    for theirs, mine in [(changed, base), (base, changed), (changed, changed)]:
        assert merged(base, theirs, mine, fingerprint, {"a": refuse, "b": refuse}).resolved == ()


def test_what_a_resolver_raises_names_the_entry_and_no_value() -> None:
    def fail(*_sides: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        merged({"a": 1}, {"a": 2}, {"a": "secret"}, fingerprint, {"a": fail})
    (note,) = caught.value.__notes__
    assert "MULTISESSION_RESOLVERS['a']" in note
    assert "secret" not in note


@given(base=_entries, theirs=_entries, mine=_entries)
def test_a_merge_holds_every_change_of_theirs_but_what_it_names_as_lost(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    made = merged(base, theirs, mine, fingerprint, {})
    for name in {**base, **theirs, **mine}:
        before, their, my, now = (
            fingerprint({name: side[name]}) if name in side else None
            for side in (base, theirs, mine, made.entries)
        )
        assert now == (my if my != before else their)
        assert (name in made.lost) == (my != before and their not in (before, my))


@given(base=_entries, theirs=_entries, mine=_entries)
def test_a_cleared_session_is_mine_and_names_every_change_of_theirs_as_lost(
    base: dict[str, Any], theirs: dict[str, Any], mine: dict[str, Any]
) -> None:
    made = replaced(base, theirs, mine, fingerprint)
    assert made.entries == mine
    for name in {**base, **theirs}:
        before, their, my = (
            fingerprint({name: side[name]}) if name in side else None
            for side in (base, theirs, mine)
        )
        assert (name in made.lost) == (their not in (before, my))


def test_entries_are_the_same_in_any_order_and_only_if_all_are() -> None:
    assert are_same({"a": 1, "b": 2}, {"b": 2, "a": 1}, fingerprint)
    assert not are_same({"a": 1}, {"a": True}, fingerprint)
    assert not are_same({"a": 1}, {"a": 1, "b": 2}, fingerprint)
    assert not are_same({"a": 1, "b": 2}, {"a": 1}, fingerprint)
