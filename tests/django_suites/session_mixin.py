"""The tests that Django has for any session engine, on the engine of the settings."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.test import TestCase

# Beside Django's runtests.py.
from sessions_tests.tests import SessionTestsMixin  # type: ignore[import-not-found]


# One of the engines keeps sessions in the database.
class EngineTests(SessionTestsMixin, TestCase):  # type: ignore[misc]  # it has no types
    backend = import_module(settings.SESSION_ENGINE).SessionStore
