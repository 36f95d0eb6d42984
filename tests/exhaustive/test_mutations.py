"""Every rule of the protocol is needed: without it, a schedule breaks a law."""

from __future__ import annotations

import pytest

from django_multisession.testing.rows import for_each
from tests.exhaustive.bounds import explore_one, parsed
from tests.exhaustive.mutations import MUTATIONS, Mutation

each_rule = for_each("mutation", MUTATIONS, ids=[each.rule for each in MUTATIONS])


@each_rule
def test_a_rule_is_kept_where_the_table_says(mutation: Mutation) -> None:
    with mutation.applied():
        pass


@pytest.mark.long
@each_rule
def test_a_schedule_notices_that_a_rule_is_removed(mutation: Mutation) -> None:
    as_it_is = laws_broken(mutation)
    with mutation.applied():
        assert laws_broken(mutation) - as_it_is


def laws_broken(mutation: Mutation) -> set[str]:
    programs = parsed(mutation.programs)
    findings = explore_one(
        programs,
        mutation.user,
        mutation.budget,
        mutation.cookies,
        is_listed=mutation.is_listed,
        **mutation.settings,
    )
    return {finding.law for finding in findings}
