"""The tests that Django has for any session engine, on the engine of the settings."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.test import SimpleTestCase

# Beside Django's runtests.py.
from sessions_tests.tests import SessionTestsMixin  # type: ignore[import-not-found]


# A SimpleTestCase may not query a database: our engines need none.
class EngineTests(SessionTestsMixin, SimpleTestCase):  # type: ignore[misc]  # it has no types
    backend = import_module(settings.SESSION_ENGINE).SessionStore
