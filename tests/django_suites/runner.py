"""The runner of Django's own tests under our engines."""

from __future__ import annotations

import gc
import unittest
from typing import Any

from django.test.runner import DiscoverRunner

OURS = "tests.django_suites.our_middleware.OurMiddleware"

LOOKS_FOR_A_ROW = "Looks for the session's row with django.contrib.sessions.models.Session."
BOUND_TO_DJANGOS_DB_ENGINE = {
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": LOOKS_FOR_A_ROW,
    f"{OURS}Tests.test_empty_session_saved": LOOKS_FOR_A_ROW,
    f"{OURS}WithoutHttpOnlyTests.test_empty_session_saved": LOOKS_FOR_A_ROW,
    (
        "auth_tests.test_middleware.TestLoginRequiredMiddleware"
        ".test_protected_view_logged_in_performance"
    ): "Counts two SQL queries, one of which reads the session. (Django 5.2 has no such test.)",
}

LIKE_THE_SET_ONE = "Our deletion cookie has the attributes of the set one: HttpOnly too."
INTENDED_IN_OUR_MIDDLEWARE = {
    f"{OURS}Tests.test_session_delete_on_end": LIKE_THE_SET_ONE,
    f"{OURS}Tests.test_session_delete_on_end_with_custom_domain_and_path": LIKE_THE_SET_ONE,
}

#: They use no session, and take three quarters of the time.
OF_PASSWORD_HASHES = "auth_tests.test_hashers."

EXCEPTIONS = BOUND_TO_DJANGOS_DB_ENGINE | INTENDED_IN_OUR_MIDDLEWARE


class Runner(DiscoverRunner):
    """Expects `EXCEPTIONS` to fail, and no other test; leaves out those `OF_PASSWORD_HASHES`.

    The exceptions are run: once one of them passes, the run fails, and it can leave the list.
    """

    def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
        suite: unittest.TestSuite = self.test_suite()
        for test in super().build_suite(*args, **kwargs):
            assert isinstance(test, unittest.TestCase)
            if test.id().startswith(OF_PASSWORD_HASHES):
                continue
            if reason := EXCEPTIONS.get(test.id()):
                self.log(f"Must fail: {test.id()}: {reason}")
                # Not its method, which subclasses have in common.
                unittest.expectedFailure(test)
            suite.addTest(test)
        return suite

    def suite_result(self, *args: Any, **kwargs: Any) -> int:
        # A client that was dropped unclosed in a reference cycle complains now or never.
        gc.collect()
        return super().suite_result(*args, **kwargs)
