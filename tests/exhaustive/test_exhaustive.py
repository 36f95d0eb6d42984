"""No interleaving of a few requests breaks a law, but for the documented limits."""

from __future__ import annotations

from typing import Any

import pytest

from django_multisession.drivers.base import Steps
from django_multisession.drivers.database.driver import DatabaseDriver
from django_multisession.testing.driver.fixtures import (
    NOW,
    left_by,
    make_end,
    make_key,
    make_record,
)
from tests.exhaustive import bounds, known, site


# Each takes a minute or so at most; on a machine that does ten other things, several minutes.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "bound",
    [*bounds.SHORT, *(pytest.param(bound, marks=pytest.mark.long) for bound in bounds.LONG)],
    ids=lambda bound: bound.name,
)
def test_no_schedule_breaks_a_law_but_for_the_documented_limits(bound: bounds.Bound) -> None:
    result = bounds.search(bound)
    assert not (new := known.new_findings(bound, result.findings)), bounds.summary(new)
    # A limit that is none any more is to be taken out of the documentation and of the table.
    assert list(known.stale_rows(bound, result.findings)) == []


def test_the_search_sends_again_what_the_database_engine_does() -> None:
    driver, key, record = DatabaseDriver({}, lambda: NOW / 1000), make_key(), make_record()
    left = left_by(record, make_key())
    verbs: dict[str, Steps[Any]] = {
        "add": driver.add(key, record),
        "get": driver.get(key),
        "replace": driver.replace(key, record, record, NOW),
        "move": driver.move(key, make_key(), record, record, left, NOW),
        "touch": driver.touch(key, record, NOW, NOW),
        "retire": driver.retire(key, record, left, NOW, NOW),
        "withdraw": driver.withdraw(key, record),
        "delete": driver.delete(key, make_end()),
    }
    commands = {name: next(verb).command for name, verb in verbs.items()}
    sent_again = {name for name, command in commands.items() if command.after_rollback is not None}
    assert sent_again == {*site.SENT_AGAIN}


def test_a_logout_that_is_not_sent_again_after_a_rollback_breaks_a_law(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = bounds.parsed("undone_logout")
    assert bounds.explore_one(programs, None, bounds.NOTHING_WRONG) == []
    monkeypatch.setattr(site, "SENT_AGAIN", {})
    found = bounds.explore_one(programs, None, bounds.NOTHING_WRONG)
    assert "I1 respond was acknowledged and … lives" in {each.law for each in found}
