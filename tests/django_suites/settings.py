"""Settings for Django's own tests: those that Django tests itself with, and our engine."""

from __future__ import annotations

import json
import os

# Beside Django's runtests.py.
from test_sqlite import *  # type: ignore[import-not-found] # noqa: F403  (settings are names)

# For the mixin alone; runtests.py puts its own in their place.
INSTALLED_APPS = ["django.contrib.sessions", "django_multisession.database", "sessions_tests"]

TEST_RUNNER = "tests.django_suites.runner.Runner"

# auth_tests pin that a second login of the same user keeps the session key.
MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False

# SESSION_ENGINE, and where its server is.
globals().update(json.loads(os.environ["MULTISESSION_SUITES_SETTINGS"]))
