"""The settings of a site that has installed the package, with the engine of its environment."""

from __future__ import annotations

import json
import os

SECRET_KEY = "only-for-tests-" + "x" * 50
USE_TZ = True
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "pages"
# In memory, for every thread of the process.
DATABASE = "file:site?mode=memory&cache=shared"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}}
# No django.contrib.sessions: it brings the table of Django's own engine, and ours need none.
INSTALLED_APPS = ["django_multisession", "django.contrib.auth", "django.contrib.contenttypes"]
MIDDLEWARE = [
    "django_multisession.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "/"
MULTISESSION_IDLE_TIMEOUT = 60 * 60
MULTISESSION_ABSOLUTE_TIMEOUT = 12 * 60 * 60
#: SESSION_ENGINE and what it needs.
globals().update(json.loads(os.environ["SITE_ENGINE"]))
