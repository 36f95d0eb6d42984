from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import json
import math
import sys
import uuid
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.values import ABSENT, is_comparable, is_same
from django_multisession.testing.rows import for_each

_plain = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    # 0.0 and -0.0 are equal, and differ in JSON.
    | st.floats().map(lambda number: number or 0.0)
    | st.text(max_size=2)
)
json_values = st.recursive(
    _plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


class Plain:
    """Defines no ``__eq__``."""

    def __init__(self, value: int = 0) -> None:
        self.value = value


@dataclasses.dataclass
class Point:
    """Defines one."""

    x: int = 0


class Refusing:
    """Raises when it is compared."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __eq__(self, other: object) -> bool:
        raise self._error("not comparable")

    __hash__ = None  # type: ignore[assignment]  # it is not asked for


class Evasive:
    """Answers a comparison with something that is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]  # it is not asked for


def nested(depth: int, kind: type = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


# As JSON says


@given(json_values)
def test_a_value_is_the_same_as_what_json_reads_back(value: Any) -> None:
    assert is_same(value, json.loads(json.dumps(value)))


@given(json_values, json_values)
def test_two_values_are_the_same_exactly_if_json_writes_the_same(this: Any, that: Any) -> None:
    assert is_same(this, that) is (canonical(this) == canonical(that))
    assert is_same(this, that) is is_same(that, this)


@given(json_values)
def test_a_value_is_the_same_as_its_copy_and_not_as_one_that_holds_it(value: Any) -> None:
    assert is_same(value, copy.deepcopy(value))
    for holder in ([value], {"a": value}, (value,)):
        assert is_same(holder, copy.deepcopy(holder))
        assert not is_same(holder, value)


@for_each(
    ("this", "that"),
    [
        (True, 1),
        (1, 1.0),
        (0, False),
        (0, None),
        ("", None),
        (b"a", "a"),
        ([1, 2], (1, 2)),
        ([1], [True]),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": 1, "b": None}),
        ({"a": 1}, {"b": 1}),
        ([], {}),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        (math.nan, None),
        (math.nan, 0.0),
        (ABSENT, None),
        (ABSENT, False),
    ],
)
def test_values_that_a_stored_session_tells_apart_are_not_the_same(this: Any, that: Any) -> None:
    assert not is_same(this, that)
    assert not is_same(that, this)


@for_each("wrap", [lambda value: value, lambda value: [value], lambda value: (value,)])
def test_two_that_are_not_a_number_are_the_same(wrap: Any) -> None:
    assert is_same(wrap(math.nan), wrap(float("nan")))
    assert is_same(wrap({"a": math.nan}), wrap({"a": float("nan")}))


@for_each("kind", [dict, OrderedDict])
def test_the_order_of_a_dict_is_no_difference(kind: type[dict[str, int]]) -> None:
    assert is_same(kind(a=1, b=2), kind(b=2, a=1))


def test_an_absent_entry_is_the_same_as_an_absent_entry() -> None:
    assert is_same(ABSENT, ABSENT)


# Other classes


@for_each(
    ("value", "other"),
    [
        (dt.date(2026, 1, 1), dt.date(2026, 1, 2)),
        (decimal.Decimal(1), decimal.Decimal(2)),
        (uuid.UUID(int=1), uuid.UUID(int=2)),
        ({1, 2}, {1, 3}),
        (Point(1), Point(2)),
        (bytearray(b"a"), bytearray(b"b")),
    ],
)
def test_values_of_a_class_with_eq_are_compared_by_it(value: Any, other: Any) -> None:
    assert is_same(value, copy.deepcopy(value))
    assert is_same([value], [copy.deepcopy(value)])
    assert not is_same(value, other)
    assert not is_same({"a": [value]}, {"a": [other]})


def test_an_object_of_another_class_is_another_value_whatever_its_eq_says() -> None:
    class AlwaysEqual(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    assert not is_same(AlwaysEqual("a"), "a")
    assert not is_same("a", AlwaysEqual("a"))


def test_objects_of_a_class_without_eq_count_as_the_same() -> None:
    assert is_same(Plain(1), Plain(2))
    assert is_same({"a": [Plain(1)]}, {"a": [Plain(2)]})
    assert not is_same(Plain(1), Point(1))


def test_a_class_is_the_same_as_itself_alone() -> None:
    # Its `__eq__` is that of its instances.
    assert is_same(Point, Point)
    assert is_same(Plain, Plain)


@for_each("error", [ValueError, KeyError, RecursionError, StopIteration])
def test_values_whose_comparison_raises_are_different(error: type[Exception]) -> None:
    assert not is_same(Refusing(error), Refusing(error))
    assert not is_same({"a": [Refusing(error)]}, {"a": [Refusing(error)]})


def test_a_comparison_that_is_neither_true_nor_false_is_a_difference() -> None:
    assert not is_same(Evasive(), Evasive())


def test_what_ends_the_process_is_no_difference() -> None:
    class Interrupted:
        def __eq__(self, other: object) -> bool:
            raise KeyboardInterrupt

        __hash__ = None  # type: ignore[assignment]  # it is not asked for

    with pytest.raises(KeyboardInterrupt):
        is_same(Interrupted(), Interrupted())


def test_an_object_is_the_same_as_itself_whatever_its_eq_does() -> None:
    for value in (Refusing(ValueError), Evasive(), [Refusing(ValueError)]):
        assert is_same(value, value)


# Depth


@for_each("kind", [list, dict])
def test_values_that_are_nested_too_deeply_are_different(kind: type) -> None:
    depth = sys.getrecursionlimit() + 100
    assert not is_same(nested(depth, kind), nested(depth, kind))
    assert is_same(nested(100, kind), nested(100, kind))


def test_values_that_hold_themselves_are_different() -> None:
    this: list[Any] = []
    this.append(this)
    that: list[Any] = []
    that.append(that)
    assert not is_same(this, that)
    assert is_same(this, this)


# What can't be compared


@for_each(
    "value",
    [None, 1, "a", b"a", 0.5, [], {}, (), [1, {"a": (2,)}], Point(), {1, 2}, Refusing(ValueError)],
)
def test_a_value_of_classes_with_eq_is_comparable(value: Any) -> None:
    assert is_comparable(value)


@for_each("wrap", [lambda value: value, lambda value: [1, {"a": (value,)}]])
def test_a_value_with_an_object_without_eq_in_it_is_not_comparable(wrap: Any) -> None:
    assert not is_comparable(wrap(Plain()))
    assert not is_comparable(wrap(object()))


@given(json_values)
def test_every_value_of_json_is_comparable(value: Any) -> None:
    assert is_comparable(value)
