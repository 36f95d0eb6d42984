from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_multisession.resolvers import ABSENT, keep_theirs, sum_of_changes, union
from django_multisession.testing.rows import for_each

_lists = st.lists(st.integers(0, 5), max_size=5)


@for_each(
    ("base", "theirs", "mine", "united"),
    [
        ([], ["a"], ["b"], ["a", "b"]),
        (["x"], ["x", "a"], ["x", "b"], ["x", "a", "b"]),
        (["x", "y"], ["x"], ["y"], []),
        (["x"], ["x", "a"], ["x", "a", "b"], ["x", "a", "b"]),
        (["x"], [], ["x", "b"], ["b"]),
        (ABSENT, ["a"], ["b"], ["a", "b"]),
        (["x"], ABSENT, ["x", "b"], ["b"]),
        (["x"], ["x", "a"], ABSENT, ["a"]),
        # What is in JSON a list or a dict may be an element too.
        ([{"id": 1}], [{"id": 1}, {"id": 2}], [{"id": 1}, [3]], [{"id": 1}, {"id": 2}, [3]]),
    ],
)
def test_a_union_of_lists_keeps_what_either_added_and_drops_what_either_removed(
    base: Any, theirs: Any, mine: Any, united: list[Any]
) -> None:
    assert union(base, theirs, mine) == united


@for_each(
    ("base", "theirs", "mine", "united"),
    [
        ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"x": 1}, {}, {"x": 1, "b": 2}, {"b": 2}),
        ({"x": 1, "y": 1}, {"x": 1, "y": 2}, {"x": 3, "y": 1}, {"x": 3, "y": 2}),
        ({"x": 1}, {"x": 2}, {"x": 3}, {"x": 3}),
        ({"x": [1]}, {"x": [1, 2]}, {"x": [1, 3]}, {"x": [1, 2, 3]}),
        (
            {"x": {"y": 1}},
            {"x": {"y": 1, "a": 1}},
            {"x": {"y": 1, "b": 1}},
            {"x": {"y": 1, "a": 1, "b": 1}},
        ),
        (ABSENT, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"x": 1}, {"x": 2}, ABSENT, {}),
        ({"x": 1}, ABSENT, {"x": 2}, {"x": 2}),
    ],
)
def test_a_union_of_dicts_is_made_key_by_key(
    base: Any, theirs: Any, mine: Any, united: dict[str, Any]
) -> None:
    assert union(base, theirs, mine) == united


@for_each(("theirs", "mine"), [([1], "one"), (1, 2), ({"a": 1}, [1]), (None, [1])])
def test_a_union_of_what_is_no_collection_is_the_later_save(theirs: Any, mine: Any) -> None:
    assert union([], theirs, mine) == mine


@given(base=_lists, theirs=_lists, mine=_lists)
def test_a_union_of_lists_holds_what_it_says_and_changes_nothing_it_was_given(
    base: list[int], theirs: list[int], mine: list[int]
) -> None:
    given_sides = [list(side) for side in (base, theirs, mine)]
    united = union(base, theirs, mine)
    assert [base, theirs, mine] == given_sides
    for element in {*base, *theirs, *mine}:
        is_removed = element in base and (element not in theirs or element not in mine)
        assert (element in united) == (not is_removed)


@for_each(
    ("base", "theirs", "mine", "total"),
    [
        (5, 6, 7, 8),
        (5, 4, 3, 2),
        (ABSENT, 1, 1, 2),
        (5, ABSENT, 7, 2),
        (5, 7, ABSENT, 2),
        (0.5, 1.5, 1.0, 2.0),
        (Decimal(1), Decimal(2), Decimal(3), Decimal(4)),
        (1, "2", 3, 3),
        (None, 2, 3, 3),
        (1, True, 3, 3),
    ],
)
def test_what_both_added_to_a_number_is_summed(
    base: Any, theirs: Any, mine: Any, total: Any
) -> None:
    assert sum_of_changes(base, theirs, mine) == total


def test_what_was_stored_first_is_kept() -> None:
    assert keep_theirs(1, 2, 3) == 2
    assert keep_theirs(1, ABSENT, 3) is ABSENT
