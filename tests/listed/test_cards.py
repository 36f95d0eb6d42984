"""What a card says, when it is written, and where it lies."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from django_multisession.core.records import NEVER
from django_multisession.drivers.listed.cards import (
    begins,
    is_due,
    listed_in,
    make_card,
    place_of,
)
from django_multisession.testing.driver.fixtures import (
    IDLE_MS,
    NOW,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import changed, next_write

OTHERS: list[dict[str, Any]] = [
    {"user": b"8"},
    {"series": b"another one."},
    {"began_ms": NOW - 1},
    {"idle_ms": IDLE_MS + 1},
    {"deadline_ms": NEVER},
]


def test_a_card_names_the_session_in_its_own_place_only() -> None:
    key, record = make_key(), make_record()
    card = make_card(key, record)
    assert listed_in(place_of(key), card) == key
    assert listed_in(place_of(make_key()), card) is None
    assert place_of(key) != key


def test_a_session_is_no_card() -> None:
    key = make_key()
    assert listed_in(key, make_record(payload=key.encode())) is None


def test_a_card_holds_nothing_of_what_a_session_holds() -> None:
    raw = bytes(make_card(make_key(), make_record(payload=b"secret")).raw)
    assert raw.find(b"secret") == -1


def test_a_card_that_is_made_again_is_the_same_write() -> None:
    key, record = make_key(), make_record()
    later = next_write(record, payload=b"other", touched_ms=NOW + 5)
    assert make_card(key, later).revision == make_card(key, record).revision


@for_each("changes", OTHERS)
def test_a_card_that_says_something_else_is_another_write(changes: dict[str, Any]) -> None:
    key, record = make_key(), make_record()
    assert make_card(key, changed(record, **changes)).revision != make_card(key, record).revision
    assert is_due(record, changed(record, **changes))
    assert make_card(make_key(), record).revision != make_card(key, record).revision


def test_a_card_is_written_once_in_a_period_of_use() -> None:
    record = make_record()
    uses = [changed(record, touched_ms=NOW + seconds * 1000) for seconds in range(600)]
    written = [is_due(base, used) for base, used in itertools.pairwise(uses)]
    assert sum(written) == 10


@pytest.mark.parametrize("idle_ms", [5, 10_000, IDLE_MS, 10**10])
def test_a_card_outlives_the_last_save_that_was_not_worth_writing_it(idle_ms: int) -> None:
    record = make_record(idle_ms=idle_ms)
    used = record
    while not is_due(record, changed(record, touched_ms=used.touched_ms + 1)):
        used = changed(record, touched_ms=used.touched_ms + max(1, idle_ms // 1000))
        if is_due(record, used):
            break
        assert make_card(make_key(), record).ends_ms >= used.ends_ms


@for_each(
    ("base", "changes", "expected"),
    [
        (None, {}, True),
        (None, {"user": None}, False),
        (make_end(), {}, True),
        (make_record(), {}, False),
        (make_record(user=None), {}, True),
        (make_record(user=b"8"), {}, True),
        (make_record(series=b"another one."), {}, True),
        (make_record(), {"user": None}, False),
    ],
)
def test_a_write_begins_a_session_of_a_user(
    base: Any, changes: dict[str, Any], expected: bool
) -> None:
    assert begins(base, make_record(**changes)) is expected
