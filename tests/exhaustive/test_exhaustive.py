"""No interleaving of a few requests breaks a law, but for the documented limits."""

from __future__ import annotations

import pytest

from tests.exhaustive import bounds, known


# Each takes 20 s at most; on a machine that does ten other things, several minutes.
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
