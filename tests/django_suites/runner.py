"""The runner of Django's own tests under our engines."""

from __future__ import annotations

import gc
import unittest
from typing import Any

from django.test.runner import DiscoverRunner

BOUND_TO_DJANGOS_DB_ENGINE = {
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": (
        "Looks for the session's row with django.contrib.sessions.models.Session."
    ),
    (
        "auth_tests.test_middleware.TestLoginRequiredMiddleware"
        ".test_protected_view_logged_in_performance"
    ): "Counts two SQL queries, one of which reads the session. (Django 5.2 has no such test.)",
}


class Runner(DiscoverRunner):
    """Expects the tests that are bound to Django's database engine to fail, and no other.

    They are run: once one of them passes, the run fails, and it can leave the list.
    """

    def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
        suite: unittest.TestSuite = super().build_suite(*args, **kwargs)
        for test in suite:
            assert isinstance(test, unittest.TestCase)
            if reason := BOUND_TO_DJANGOS_DB_ENGINE.get(test.id()):
                self.log(f"Must fail: {test.id()}: {reason}")
                unittest.expectedFailure(getattr(type(test), test.id().rpartition(".")[2]))
        return suite

    def suite_result(self, *args: Any, **kwargs: Any) -> int:
        # A client that was dropped unclosed in a reference cycle complains now or never.
        gc.collect()
        return super().suite_result(*args, **kwargs)
