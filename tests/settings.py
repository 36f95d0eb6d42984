"""One settings module for the tests; engines vary by fixture, not by file."""

from __future__ import annotations

SECRET_KEY = "only-for-tests-" + "x" * 50
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [
    "django_multisession",
    "django_multisession.database",
    "django_multisession.session_admin",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
# The default one takes half a second of processor time for each password.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_ENGINE = "django_multisession.engines.memory"
