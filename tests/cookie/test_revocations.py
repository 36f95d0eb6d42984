"""For how long the end of a session in a cookie is kept."""

from __future__ import annotations

from typing import Any

import pytest

from django_multisession.core.records import NEVER
from django_multisession.drivers.cookie.revocations import Revocations
from django_multisession.testing.driver.fixtures import IDLE_MS, NOW, make_record
from django_multisession.testing.rows import for_each

#: How long a session may live by the settings.
LONGEST_MS = 10 * IDLE_MS
SHORT: dict[str, Any] = {"deadline_ms": NOW + 1}

#: What each copy says → until when one of them may be worth something.
ROWS: list[tuple[list[dict[str, Any]], int]] = [
    # Another copy may say what the settings allow.
    ([SHORT], NOW + LONGEST_MS),
    ([{"began_ms": NOW - LONGEST_MS}], NOW + IDLE_MS),
    # set_expiry() asked for more.
    ([{"deadline_ms": NOW + 3 * LONGEST_MS}], NOW + 3 * LONGEST_MS),
    ([{"idle_ms": 2 * LONGEST_MS}], NOW + 2 * LONGEST_MS),
    ([{"idle_ms": NEVER}], NEVER),
    # The copy that a request brings, and the one that it knows.
    ([SHORT, {"deadline_ms": NOW + 3 * LONGEST_MS}], NOW + 3 * LONGEST_MS),
    ([{"deadline_ms": NOW + 3 * LONGEST_MS}, SHORT], NOW + 3 * LONGEST_MS),
]


@for_each("row", ROWS)
def test_an_end_is_kept_until_the_last_copy_is_worth_nothing(
    row: tuple[list[dict[str, Any]], int],
) -> None:
    copies, until = row
    ends = Revocations(
        lambda: pytest.fail("It was opened."), lambda: NOW / 1000, lambda: LONGEST_MS
    )
    began = {"began_ms": NOW, "deadline_ms": NEVER, "idle_ms": IDLE_MS}
    assert ends.until(*(make_record(**(began | each)) for each in copies)) == until
