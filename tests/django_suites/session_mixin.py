"""The tests that Django has for any session engine, on the engine of the settings."""

from __future__ import annotations

import inspect
import unittest
from importlib import import_module
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import TestCase

# Beside Django's runtests.py.
from sessions_tests.tests import SessionTestsMixin  # type: ignore[import-not-found]


# One of the engines keeps sessions in the database.
class EngineTests(SessionTestsMixin, TestCase):  # type: ignore[misc]  # it has no types
    backend = import_module(settings.SESSION_ENGINE).SessionStore


#: What Django excuses its own cookie engine from, and ours needs where no server keeps ends. Django's
#: is also excused from `test_save`, `test_cycle`, `test_actual_expiry` and
#: `test_session_load_does_not_create_record`, which ours passes.
NEEDS_SHARED_ENDS = (
    "test_session_save_does_not_resurrect_session_logged_out_in_other_context",
    "test_session_asave_does_not_resurrect_session_logged_out_in_other_context",
)


def fails(name: str) -> Any:
    test = getattr(SessionTestsMixin, name)
    # Django's runner loses the mark of a coroutine.
    called = async_to_sync(test) if inspect.iscoroutinefunction(test) else test
    return unittest.expectedFailure(lambda self: called(self))  # noqa: PLW0108  (of a class)


is_cookie = settings.SESSION_ENGINE.endswith(".cookie")
if is_cookie and not getattr(settings, "MULTISESSION_COOKIE", None):
    for name in NEEDS_SHARED_ENDS:
        setattr(EngineTests, name, fails(name))
