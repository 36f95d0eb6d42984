"""Django's admin on our sessions, with users in a database."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from tests.engine_fixtures import Engine
from tests.web.browser import Browser

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def staff(
    db: None, browser: Browser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Browser:
    """A browser for a site with a database, its admin and one superuser."""
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.STATIC_URL = "/static/"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ]
    User.objects.create_superuser("root", password="secret")
    if browser.is_async:
        browser.run = run_with_this_threads_database
    return browser


def run_with_this_threads_database(request: Coroutine[Any, Any, Any]) -> Any:
    """Run one request so that its sync parts use this thread, whose transaction holds the user."""

    async def wait() -> Any:
        return await request

    return async_to_sync(wait)()


def log_in_at_the_admin(staff: Browser) -> None:
    page = staff.get("/admin/login/").body.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    reply = staff.post(
        "/admin/login/?next=/admin/",
        {"username": "root", "password": "secret", "csrfmiddlewaretoken": token[1]},
    )
    assert reply.status == 302
    assert reply.new_key is not None


def test_the_admin_lets_staff_in_and_shows_a_change_page(staff: Browser, engine: Engine) -> None:
    root = User.objects.get()
    assert staff.get(f"/admin/auth/user/{root.pk}/change/").status == 302
    log_in_at_the_admin(staff)
    assert staff.get("/admin/").status == 200
    change = staff.get(f"/admin/auth/user/{root.pk}/change/")
    assert change.status == 200
    assert b"Change user" in change.body
    assert change.cookies.keys() <= {"csrftoken"}


def test_a_change_in_the_admin_is_made_and_its_message_shown(
    staff: Browser, engine: Engine, settings: Settings
) -> None:
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    log_in_at_the_admin(staff)
    fields = {"name": "editors", "csrfmiddlewaretoken": staff.cookies["csrftoken"]}
    assert staff.post("/admin/auth/group/add/", fields).status == 302
    page = staff.get("/admin/auth/group/").body
    assert b"was added successfully" in page
    assert b"editors" in page


def test_the_admin_survives_a_rotation_of_the_secret(
    staff: Browser, engine: Engine, settings: Settings
) -> None:
    log_in_at_the_admin(staff)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50
    assert staff.get("/admin/").new_key is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert staff.get("/admin/").status == 200


def test_the_admin_logs_out(staff: Browser, engine: Engine) -> None:
    log_in_at_the_admin(staff)
    fields = {"csrfmiddlewaretoken": staff.cookies["csrftoken"]}
    assert staff.post("/admin/logout/", fields).deletes_the_cookie
    assert staff.get("/admin/").status == 302
