"""Two overlapping requests: a change may be lost to the later response, and no end ever is.

The browser has every cookie as soon as it is made.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_multisession.store import DriverSessionStore
from django_multisession.testing import InterleavingContract
from django_multisession.testing.interleaving.invariants import broken_invariants
from django_multisession.testing.interleaving.model import Outcome, Pair
from tests.cookie.browser import store_of_one_browser
from tests.engine_fixtures import REVOCABLE

#: What `broken_invariants` says of a change that is nowhere.
LOST_CHANGE = "what "


class TestInterleavings(InterleavingContract):
    is_revocable = False

    @pytest.fixture
    def rounds(self) -> int:
        return 1

    @pytest.fixture
    def session_store(self, cookie_engine: str) -> type[DriverSessionStore]:
        self.is_revocable = cookie_engine == REVOCABLE
        return store_of_one_browser()

    def faults_of(self, pair: Pair, order: str, found: Outcome) -> Iterator[str]:
        if not self.is_revocable:
            # One server holds the records and the ends.
            return super().faults_of(pair, order, found)
        return (
            f"{pair}, {order}: {fault}\n  found   {found}"
            for fault in broken_invariants(pair, found)
            if not fault.startswith(LOST_CHANGE)
        )
