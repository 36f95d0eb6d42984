"""The tests that Django has for its session middleware, on ours."""

from __future__ import annotations

from unittest import mock

from django.test import override_settings

# Beside Django's runtests.py. Not by its name: unittest would run its class under Django's, too.
from sessions_tests import tests  # type: ignore[import-not-found]

from django_multisession.middleware import SessionMiddleware


class OurMiddlewareTests(tests.SessionMiddlewareTests):  # type: ignore[misc]  # it has no types
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.enterClassContext(mock.patch.object(tests, "SessionMiddleware", SessionMiddleware))


# Shows that HttpOnly is all that differs.
@override_settings(SESSION_COOKIE_HTTPONLY=False)
class OurMiddlewareWithoutHttpOnlyTests(OurMiddlewareTests): ...
