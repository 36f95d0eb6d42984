"""The page of overlapping requests shows the table that the engines are held to."""

from __future__ import annotations

from django_multisession.testing.interleaving import table
from django_multisession.testing.interleaving.play import PAIRS, orders_of
from django_multisession.testing.interleaving.table import Action
from tests.docs.pages import ROOT, text_of
from tests.interleavings.test_interleavings import ROUNDS, ROUNDS_OF_OTHER_VERSIONS

PAGE = "reference/overlapping-requests.md"


def test_the_page_shows_the_table() -> None:
    assert table.as_markdown() in text_of(PAGE)


def test_every_action_has_its_row_in_every_table() -> None:
    for rows in (table.PLAYED, table.ALONE, table.UNDER_WAY, table.LATE):
        assert list(rows) == list(Action)


def test_the_page_tells_how_much_is_played() -> None:
    orders = sum(len(orders_of(pair)) for pair in PAIRS)
    text = text_of(PAGE)
    assert f"With {len(PAIRS)} pairs these are {orders} interleavings" in text
    assert f"sync and async, {2 * orders} per round" in text
    assert f"MongoDB (standalone), memcached, PostgreSQL | {ROUNDS} |" in text
    assert f"MongoDB (replica set) | {ROUNDS_OF_OTHER_VERSIONS} |" in text


def test_the_suites_that_the_page_names_exist() -> None:
    for path in ("tests/interleavings", "tests/web/test_interleavings.py"):
        assert f"`{path}`" in text_of(PAGE)
        assert (ROOT / path).exists()
