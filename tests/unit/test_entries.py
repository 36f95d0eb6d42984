from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.core.entries import Entries
from django_multisession.testing.rows import for_each

PLAIN: dict[str, Any] = {
    "text": "a",
    "number": 1,
    "fraction": 0.5,
    "flag": True,
    "none": None,
    "bytes": b"a",
}
#: Values of every kind that code may hold.
VALUES: dict[str, Any] = {
    **PLAIN,
    "list": [1],
    "dict": {"a": 1},
    "tuple": ([1],),
    "set": {1},
    "object": object(),
}


def entries_of(stored: dict[str, Any]) -> Entries:
    return Entries(copy.deepcopy(stored))


def saved(entries: Entries) -> dict[str, Any]:
    """Count all as saved; return what is stored then."""
    entries.note_saved(entries.clock)
    return copy.deepcopy(dict(entries))


# Changes inside a value


@for_each(
    "change",
    [
        lambda entries: entries["cart"].append(3),
        lambda entries: entries["cart"].clear(),
        lambda entries: entries["deep"]["a"]["b"].append(1),
        lambda entries: entries["deep"].update(new=1),
        lambda entries: entries.get("cart").append(3),
        lambda entries: entries.setdefault("cart", []).append(3),
        lambda entries: next(iter(entries.values())).append(3),
        lambda entries: next(iter(entries.items()))[1].append(3),
        lambda entries: dict(entries.items())["cart"].append(3),
        lambda entries: entries["flags"].__setitem__(0, 1),
        lambda entries: entries["pair"][1].append(1),
    ],
)
def test_a_change_inside_a_value_that_was_handed_out_is_found(change: Any) -> None:
    stored = {"cart": [1, 2], "deep": {"a": {"b": []}}, "flags": [True], "pair": (1, [])}
    entries = entries_of(stored)
    change(entries)
    assert entries.has_nested_change(stored)
    assert not entries.has_writes


@for_each(
    "use",
    [
        lambda entries: entries["cart"],
        lambda entries: (entries["cart"].append(3), entries["cart"].pop()),
        lambda entries: entries["cart"].sort(),
        lambda entries: entries.setdefault("cart", [3]),
        lambda entries: [list(entries.values()), list(entries.items()), list(entries)],
        lambda entries: entries.get("nothing"),
        lambda entries: None,
    ],
)
def test_reading_and_changing_back_is_no_change(use: Any) -> None:
    stored = {"cart": [1, 2], "name": "Ada"}
    entries = entries_of(stored)
    use(entries)
    assert not entries.has_nested_change(stored)
    assert not entries.has_writes


def test_a_change_is_found_as_often_as_it_is_asked_for() -> None:
    entries = entries_of({"cart": []})
    entries["cart"].append(1)
    assert entries.has_nested_change({"cart": []})
    assert entries.has_nested_change({"cart": []})


def test_a_value_that_is_not_stored_is_a_change() -> None:
    entries = entries_of({"cart": []})
    entries["cart"]
    assert entries.has_nested_change({})


@for_each("value", [[object], {"a": {1, 2}}, (1, [2])])
def test_a_value_need_not_be_serializable_to_be_compared(value: Any) -> None:
    entries = Entries({"value": value})
    entries["value"]
    assert not entries.has_nested_change({"value": copy.deepcopy(value)})
    assert entries.has_nested_change({"value": [value]})


# Writes


@for_each(
    ("write", "names"),
    [
        (lambda entries: entries.__setitem__("a", 1), {"a"}),
        (lambda entries: entries.__setitem__("new", None), {"new"}),
        (lambda entries: entries.__delitem__("a"), {"a"}),
        (lambda entries: entries.pop("a"), {"a"}),
        (lambda entries: entries.popitem(), {"b"}),
        (lambda entries: entries.setdefault("new", 1), {"new"}),
        (lambda entries: entries.update({"a": 2}, new=1), {"a", "new"}),
        (lambda entries: entries.update([("a", 2)]), {"a"}),
        (lambda entries: entries.__ior__({"a": 2}), {"a"}),
        (lambda entries: entries.clear(), {"a", "b"}),
    ],
)
def test_a_write_is_noted_under_its_names_and_needs_no_comparison(
    write: Any, names: set[str]
) -> None:
    entries = entries_of({"a": 1, "b": [1]})
    write(entries)
    assert entries.written.keys() == names
    assert entries.has_writes
    assert not entries.has_nested_change({"a": 1, "b": [1]})


@for_each(
    "look",
    [
        lambda entries: entries.pop("absent", None),
        lambda entries: entries.setdefault("a", 2),
        lambda entries: entries.update({}),
        lambda entries: entries.get("absent"),
        lambda entries: entries.items(),
    ],
)
def test_what_writes_nothing_is_no_write(look: Any) -> None:
    entries = entries_of({"a": 1})
    look(entries)
    assert not entries.has_writes
    assert entries.clock == 0


@for_each("name", ["absent", "deleted"])
def test_an_absent_entry_cannot_be_removed_and_notes_no_write(name: str) -> None:
    entries = entries_of({"deleted": 1})
    del entries["deleted"]
    clock = entries.clock
    with pytest.raises(KeyError):
        entries.pop(name)
    with pytest.raises(KeyError):
        del entries[name]
    assert entries.clock == clock
    assert entries.written.keys() == {"deleted"}


def test_no_entry_is_taken_from_none() -> None:
    with pytest.raises(KeyError):
        Entries().popitem()


def test_a_value_that_was_handed_out_and_removed_is_a_write() -> None:
    entries = entries_of({"cart": []})
    entries["cart"]
    del entries["cart"]
    assert entries.has_writes


def test_a_write_of_what_is_there_already_is_a_write() -> None:
    # Whether it changed the value, a closer look has to tell: two requests that add 1 to a
    # counter set the same value.
    entries = entries_of({"n": 1})
    entries["n"] = 1
    assert entries.written.keys() == {"n"}


# A save covers what was written until it was composed


def test_after_a_save_nothing_is_written() -> None:
    entries = entries_of({"a": 1})
    entries["a"] = 2
    del entries["a"]
    entries["cart"] = []
    stored = saved(entries)
    assert not entries.has_writes
    assert not entries.has_nested_change(stored)


def test_what_was_written_while_a_save_was_under_way_is_not_saved() -> None:
    entries = entries_of({})
    entries["early"] = 1
    entries["twice"] = 1
    clock = entries.clock
    entries["twice"] = 2
    entries["late"] = 1
    entries.note_saved(clock)
    assert entries.written.keys() == {"twice", "late"}


def test_a_value_that_was_set_is_watched_after_its_save() -> None:
    entries = entries_of({})
    cart: list[int] = []
    entries["cart"] = cart
    stored = saved(entries)
    cart.append(1)
    assert entries.has_nested_change(stored)


def test_a_value_that_was_handed_out_is_still_watched_after_a_save() -> None:
    entries = entries_of({"cart": []})
    cart = entries["cart"]
    cart.append(1)
    stored = saved(entries)
    assert not entries.has_nested_change(stored)
    cart.pop()
    assert entries.has_nested_change(stored)


def test_a_removed_value_is_forgotten_after_a_save() -> None:
    entries = entries_of({"cart": []})
    entries["cart"]
    del entries["cart"]
    assert not entries.has_nested_change(saved(entries))


_operations = st.lists(
    st.tuples(st.sampled_from(["set", "delete", "read"]), st.sampled_from("abcd")), max_size=12
)


@given(before=_operations, after=_operations)
def test_a_save_covers_what_was_last_written_before_it_was_composed(
    before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    entries, model = entries_of({"a": [1], "b": 1}), {"a": [1], "b": 1}

    def play(operations: list[tuple[str, str]]) -> set[str]:
        written: set[str] = set()
        for verb, name in operations:
            if verb == "set":
                entries[name] = model[name] = [len(written)]
            elif verb == "delete":
                assert entries.pop(name, None) == model.pop(name, None)
            else:
                assert entries.get(name) == model.get(name)
            if verb != "read":
                written.add(name)
        assert entries == model
        return written

    first = play(before)
    clock = entries.clock
    second = play(after)
    entries.note_saved(clock)
    assert entries.written.keys() <= second
    # A pop of an absent entry writes nothing, so it may be fewer.
    assert not entries.written.keys() & (first - second)
    assert bool(entries.written) is (entries.clock > clock)


# Cleared


def test_cleared_entries_are_a_write_until_they_are_saved() -> None:
    entries = Entries.cleared()
    assert entries == {}
    assert entries.has_writes
    assert not entries.written
    saved(entries)
    assert not entries.has_writes


def test_a_save_that_was_composed_before_the_entries_were_cleared_does_not_cover_that() -> None:
    entries = Entries.cleared()
    entries.note_saved(0)
    assert entries.has_writes


# Taking over what another request stored


def test_entries_are_taken_over_in_place_and_without_a_write() -> None:
    entries = entries_of({"mine": 1, "both": 1})
    held = entries
    entries.take({"both": 2, "theirs": 1})
    assert held == {"both": 2, "theirs": 1}
    assert not held.has_writes


def test_a_write_that_is_not_saved_is_one_after_a_merge() -> None:
    entries = entries_of({"mine": 1})
    entries["mine"] = 2
    entries.take({"mine": 2, "theirs": 1})
    assert entries.written.keys() == {"mine"}


def test_a_value_that_was_handed_out_is_watched_after_a_merge() -> None:
    entries = entries_of({"cart": [1]})
    cart = entries["cart"]
    entries.take({"cart": cart, "theirs": 1})
    cart.append(2)
    assert entries.has_nested_change({"cart": [1], "theirs": 1})


def test_a_value_that_a_merge_removed_is_not_watched() -> None:
    entries = entries_of({"cart": [1]})
    entries["cart"]
    entries.take({})
    assert not entries.handed_out
    assert not entries.has_nested_change({})


def test_entries_may_be_taken_from_themselves() -> None:
    entries = entries_of({"a": 1})
    entries.take(entries.plain())
    assert entries == {"a": 1}


# What it costs


def test_plain_values_are_not_watched() -> None:
    entries = entries_of(PLAIN)
    for name, value in PLAIN.items():
        entries[name]
        entries.get(name)
        entries.setdefault(name)
        entries[name] = value
    list(entries.values())
    list(entries.items())
    saved(entries)
    assert not entries.handed_out


@for_each("name", VALUES)
@for_each("read", ["__getitem__", "get"])
def test_every_value_that_can_change_in_place_is_watched(name: str, read: str) -> None:
    entries = Entries(VALUES)
    getattr(entries, read)(name)
    assert entries.handed_out == {name} - PLAIN.keys()


@for_each("read", ["values", "items"])
def test_code_that_reads_all_values_may_change_any_in_place(read: str) -> None:
    entries = Entries(VALUES)
    getattr(entries, read)()
    assert entries.handed_out == VALUES.keys() - PLAIN.keys()


@dataclasses.dataclass
class CountsComparisons:
    compared: int = 0

    def __eq__(self, other: object) -> bool:
        self.compared += 1
        return isinstance(other, CountsComparisons)

    __hash__ = None  # type: ignore[assignment]  # it is not asked for


def test_a_value_that_was_not_handed_out_is_not_compared() -> None:
    mine, other, stored_mine, stored_other = (CountsComparisons() for _ in range(4))
    entries = Entries({"mine": mine, "other": other, "name": "Ada"})
    stored = {"mine": stored_mine, "other": stored_other, "name": "Ada"}
    entries["mine"]
    entries["name"]
    assert not entries.has_nested_change(stored)
    assert (other.compared, stored_other.compared) == (0, 0)
    assert mine.compared + stored_mine.compared == 1


@for_each(
    "look",
    [
        len,
        list,
        bool,
        repr,
        dict,
        lambda entries: "cart" in entries,
        lambda entries: entries.keys(),
    ],
)
def test_looking_without_reading_watches_nothing(look: Any) -> None:
    entries = entries_of({"cart": [1]})
    look(entries)
    assert not entries.handed_out


# It is a dict like any other.


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_entries_are_the_dict_they_were_made_of(stored: dict[str, Any]) -> None:
    entries = entries_of(stored)
    assert entries == stored
    assert dict(entries) == stored
    assert {**entries} == stored
    assert dict(entries.items()) == stored
    assert list(entries.values()) == list(stored.values())
    assert json.loads(json.dumps(entries)) == stored
    assert bytes(JSONSerializer().dumps(entries)) == bytes(JSONSerializer().dumps(stored))


def test_serializing_the_entries_changes_none() -> None:
    entries = entries_of({"cart": [1], "name": "Ada"})
    json.dumps(entries)
    JSONSerializer().dumps(dict(entries))
    assert not entries.has_nested_change({"cart": [1], "name": "Ada"})


def test_a_plain_copy_of_the_entries_can_be_changed_alone() -> None:
    entries = entries_of({"name": "Ada"})
    entries.plain()["name"] = "Eve"
    dict(entries)["name"] = "Eve"
    assert entries == {"name": "Ada"}
    assert not entries.has_writes


def test_entries_share_no_names_with_the_dict_they_were_made_of() -> None:
    stored = {"name": "Ada"}
    Entries(stored)["name"] = "Eve"
    assert stored == {"name": "Ada"}


@for_each("show", [repr, str, "{}".format, lambda entries: f"{entries!r}"])
@for_each("kind", [Entries, lambda entries: Entries(entries).plain()])
def test_no_text_that_is_made_of_entries_holds_them(kind: Any, show: Any) -> None:
    assert show(kind({"card": "4111"})) == "<1 session entries>"


def test_get_answers_its_default_only_for_an_absent_entry() -> None:
    entries = entries_of({"none": None, "zero": 0})
    assert entries.get("absent") is None
    assert entries.get("absent", 7) == 7
    assert entries.get("none", 7) is None
    assert entries.get("zero", 7) == 0


def test_an_absent_entry_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        entries_of({})["absent"]
