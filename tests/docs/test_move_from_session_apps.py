"""The settings and the URLs that are shown take a site from allauth's list of sessions to the pages here.

django-user-sessions isn't among the tests' packages: of its part, what the settings name is looked at.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from django_multisession import user_sessions
from django_multisession.settings import conf
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions import urls
from tests.docs.pages import ROOT, Block, blocks_of, rows_of, section_of
from tests.started_project import TEMPLATES

PAGE = "docs/howto/move-from-session-apps.md"
ALLAUTH, OTHER = "From allauth's usersessions", "From django-user-sessions"

#: A site on an engine of this package with allauth and its list.
BEFORE = f"""
SECRET_KEY = "only-for-tests-" + "x" * 50
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mysite.urls"
TEMPLATES = {TEMPLATES!r}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
STATIC_URL = "static/"
INSTALLED_APPS = [
    "django_multisession",
    "django_multisession.database",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "allauth",
    "allauth.account",
    "allauth.usersessions",
]
MIDDLEWARE = [
    "django_multisession.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]
SESSION_ENGINE = "django_multisession.engines.database"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_EMAIL_VERIFICATION = "none"
LOGIN_REDIRECT_URL = "/accounts/sessions/"
"""

BEGINNING = """
import json
import pathlib

import django

django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SESSIONS, KEY = "/accounts/sessions/", pathlib.Path("key")


def browser(**more):
    return Client(headers={"user-agent": FIREFOX}, REMOTE_ADDR="192.0.2.77", **more)


def log_in(client):
    reply = client.post("/accounts/login/", {"login": "ada", "password": "secret"})
    assert (reply.status_code, reply["location"]) == (302, SESSIONS)
"""
OLD = """
call_command("migrate", verbosity=0)
User.objects.create_user("ada", password="secret")
client = browser()
log_in(client)
assert "192.0.2.77" in client.get(SESSIONS).content.decode()
KEY.write_text(client.cookies["sessionid"].value)
call_command("migrate", "usersessions", "zero", verbosity=0)
"""
NEW = """
call_command("check")
old, new = browser(), browser()
old.cookies["sessionid"] = KEY.read_text()
assert "Unknown device" in old.get(SESSIONS).content.decode()
log_in(new)
page = new.get(SESSIONS).content.decode()
assert "Firefox on Linux" in page and "192.0.2.77" in page
assert new.post(SESSIONS + "end-others/").status_code == 302
assert [client.get(SESSIONS).status_code for client in (old, new)] == [302, 200]
"""


def runs(block: Block) -> bool:
    return block.page == PAGE


def shown(section: str) -> dict[str, str]:
    """Return the files of *section*."""
    return {block.file: block.text for block in blocks_of(PAGE) if block.section == section}


@pytest.mark.long
def test_the_settings_and_urls_shown_replace_allauths_list(tmp_path: Path) -> None:
    site = tmp_path / "mysite"
    site.mkdir()
    (site / "__init__.py").touch()
    files = shown(ALLAUTH)
    old_urls = files["mysite/urls.py"].replace(
        "django_multisession.user_sessions.urls", "allauth.usersessions.urls"
    )
    for script, settings, pages in (
        (OLD, BEFORE, old_urls),
        (NEW, BEFORE + files["mysite/settings.py"], files["mysite/urls.py"]),
    ):
        (site / "settings.py").write_text(settings)
        (site / "urls.py").write_text(pages)
        run = subprocess.run(
            [sys.executable, "-B", "-c", BEGINNING + script],
            cwd=tmp_path,
            env={
                "PYTHONPATH": os.pathsep.join(map(str, (ROOT, tmp_path))),
                "DJANGO_SETTINGS_MODULE": "mysite.settings",
                "PYTHONWARNINGS": "ignore",
            },
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_settings_shown_name_the_engine_of_django_user_sessions(settings: Any) -> None:
    old = "user_sessions.middleware.SessionMiddleware"
    named: dict[str, Any] = {"INSTALLED_APPS": ["user_sessions"], "MIDDLEWARE": ["x", old, "y"]}
    exec(shown(OTHER)["mysite/settings.py"], named)
    ours = "django_multisession.middleware.SessionMiddleware"
    assert named["MIDDLEWARE"] == ["x", ours, "y"]
    for name, value in named.items():
        if name.startswith(("SESSION_", "MULTISESSION_")):
            setattr(settings, name, value)
    assert conf.problems() == []
    assert conf.config().migration is not None


@for_each("section", [ALLAUTH, OTHER])
def test_what_replaces_a_name_is_there(section: str) -> None:
    fields = {field.name for field in dataclasses.fields(user_sessions.UserSession)}
    there = {*user_sessions.__all__, *fields, "session", "new_device"}
    routes = {f"user_sessions:{route.name}" for route in urls.urlpatterns}
    named = {
        name
        for _old, new in rows_of(section_of(PAGE.removeprefix("docs/"), f"## {section}"))
        for name in re.findall(r"`([\w:]+)", new)
    }
    assert len(named) > 4
    assert named <= there | routes
