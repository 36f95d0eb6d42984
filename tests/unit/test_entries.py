from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.entries import Entries


class CountingFingerprint:
    """Serializes as the store does, and remembers of which entries."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, entries: dict[str, Any]) -> bytes:
        self.asked += entries
        return bytes(JSONSerializer().dumps(entries))


PLAIN: dict[str, Any] = {
    "text": "a",
    "number": 1,
    "fraction": 0.5,
    "flag": True,
    "none": None,
}


def entries_of(stored: dict[str, Any]) -> Entries:
    return Entries(copy.deepcopy(stored), CountingFingerprint())


def fingerprints(entries: Entries) -> list[str]:
    fingerprint = entries._fingerprint
    assert isinstance(fingerprint, CountingFingerprint)
    return fingerprint.asked


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: entries["cart"].append(3),
        lambda entries: entries["cart"].clear(),
        lambda entries: entries["deep"]["a"]["b"].append(1),
        lambda entries: entries["deep"].update(new=1),
        lambda entries: entries.get("cart").append(3),
        lambda entries: next(iter(entries.values())).append(3),
        lambda entries: next(iter(entries.items()))[1].append(3),
        lambda entries: dict(entries.items())["cart"].append(3),
        lambda entries: entries["flags"].__setitem__(0, 1),
    ],
)
def test_a_change_inside_a_value_that_was_handed_out_is_found(change: Any) -> None:
    entries = entries_of({"cart": [1, 2], "deep": {"a": {"b": []}}, "flags": [True]})
    change(entries)
    assert entries.has_nested_change()


@pytest.mark.parametrize(
    "use",
    [
        lambda entries: entries["cart"],
        lambda entries: (entries["cart"].append(3), entries["cart"].pop()),
        lambda entries: entries["cart"].sort(),
        lambda entries: [list(entries.values()), list(entries.items()), list(entries)],
        lambda entries: entries.__setitem__("cart", list(entries["cart"])),
        lambda entries: entries.get("nothing"),
        lambda entries: None,
    ],
)
def test_reading_and_changing_back_is_no_change(use: Any) -> None:
    entries = entries_of({"cart": [1, 2], "name": "Ada"})
    use(entries)
    assert not entries.has_nested_change()


def test_values_are_compared_as_serialized() -> None:
    entries = entries_of({"flags": [True], "pair": [1, 2]})
    assert entries["flags"] == [1]
    entries["flags"][0] = 1
    assert entries.has_nested_change()
    entries = entries_of({"pair": [1, 2]})
    assert entries["pair"] == [1, 2]
    entries["pair"] = (1, 2)
    assert not entries.has_nested_change()


def test_a_change_is_found_as_often_as_somebody_asks() -> None:
    entries = entries_of({"cart": []})
    entries["cart"].append(1)
    assert entries.has_nested_change()
    assert entries.has_nested_change()


def test_a_value_that_was_handed_out_and_removed_is_a_change() -> None:
    entries = entries_of({"cart": []})
    entries["cart"]
    del entries["cart"]
    assert entries.has_nested_change()


def test_a_value_that_was_handed_out_and_replaced_by_another_is_a_change() -> None:
    entries = entries_of({"cart": []})
    entries["cart"]
    entries["cart"] = [1]
    assert entries.has_nested_change()


def test_a_change_inside_a_value_that_was_set_here_is_found() -> None:
    entries = entries_of({})
    entries["cart"] = []
    entries["cart"].append(1)
    assert entries.has_nested_change()


def test_what_reading_handed_out_first_is_what_counts() -> None:
    entries = entries_of({"cart": []})
    entries["cart"].append(1)
    entries["cart"]
    list(entries.values())
    assert entries.has_nested_change()


def test_a_value_that_cannot_be_serialized_counts_as_changed() -> None:
    entries = entries_of({"cart": []})
    entries["cart"].append(object())
    assert entries.has_nested_change()


def test_a_value_that_could_not_be_serialized_when_handed_out_counts_as_changed() -> None:
    entries = Entries({"odd": [object()]}, CountingFingerprint())
    entries["odd"]
    assert entries.has_nested_change()


def test_a_fingerprint_may_raise_anything() -> None:
    def fingerprint(_entries: dict[str, Any]) -> bytes:
        raise RecursionError

    entries = Entries({"cart": []}, fingerprint)
    entries["cart"]
    entries.rebase()
    assert entries.has_nested_change()


# Rebase: what was saved is the new base.


def test_after_a_rebase_nothing_has_changed() -> None:
    entries = entries_of({"cart": []})
    entries["cart"].append(1)
    entries.rebase()
    assert not entries.has_nested_change()


def test_after_a_rebase_a_value_handed_out_before_is_still_watched() -> None:
    entries = entries_of({"cart": []})
    cart = entries["cart"]
    entries.rebase()
    cart.append(1)
    assert entries.has_nested_change()


def test_after_a_rebase_a_removed_value_is_forgotten() -> None:
    entries = entries_of({"cart": []})
    entries["cart"]
    del entries["cart"]
    entries.rebase()
    assert not entries.has_nested_change()


def test_after_a_rebase_a_change_back_to_the_older_base_is_a_change() -> None:
    entries = entries_of({"cart": []})
    cart = entries["cart"]
    cart.append(1)
    entries.rebase()
    cart.pop()
    assert entries.has_nested_change()


# What it costs


def test_plain_values_cost_no_fingerprint() -> None:
    entries = entries_of(PLAIN)
    for name in PLAIN:
        entries[name]
        entries.get(name)
    list(entries.values())
    list(entries.items())
    assert not entries.has_nested_change()
    entries.rebase()
    assert fingerprints(entries) == []


def test_values_that_nobody_asked_for_cost_no_fingerprint() -> None:
    entries = entries_of({"cart": [1], "history": [2], "name": "Ada"})
    entries["cart"]
    entries["name"]
    entries.has_nested_change()
    assert fingerprints(entries) == ["cart", "cart"]


def test_a_value_is_fingerprinted_once_however_often_it_is_handed_out() -> None:
    entries = entries_of({"cart": [1]})
    for _ in range(5):
        entries["cart"]
        list(entries.items())
    assert fingerprints(entries) == ["cart"]


@pytest.mark.parametrize(
    "look",
    [len, list, bool, repr, lambda entries: "cart" in entries, lambda entries: entries.keys()],
)
def test_looking_without_reading_costs_no_fingerprint(look: Any) -> None:
    entries = entries_of({"cart": [1]})
    look(entries)
    assert fingerprints(entries) == []


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
    assert not entries.has_nested_change()


def test_a_plain_dict_of_the_entries_can_be_changed_alone() -> None:
    entries = entries_of({"name": "Ada"})
    dict(entries)["name"] = "Eve"
    assert entries["name"] == "Ada"


def test_entries_share_no_names_with_the_dict_they_were_made_of() -> None:
    stored = {"name": "Ada"}
    Entries(stored, CountingFingerprint())["name"] = "Eve"
    assert stored == {"name": "Ada"}


def test_get_answers_its_default_only_for_an_absent_entry() -> None:
    entries = entries_of({"none": None, "zero": 0})
    assert entries.get("absent") is None
    assert entries.get("absent", 7) == 7
    assert entries.get("none", 7) is None
    assert entries.get("zero", 7) == 0


def test_an_absent_entry_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        entries_of({})["absent"]
