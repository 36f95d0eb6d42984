"""Django's admin, with users in a database."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from tests.clients.conftest import Outage, rotate, send_form
from tests.engine_fixtures import Engine
from tests.web.browser import Browser, Reply
from tests.web.conftest import OURS

if TYPE_CHECKING:
    from pytest_django import Settings

NEW_PASSWORD = "another secret 2"


@pytest.fixture
def staff(users_in_database: None, browser: Browser) -> Browser:
    """A browser for a site with one superuser."""
    User.objects.create_superuser("root", password="secret")
    return browser


def log_in(browser: Browser, password: str = "secret") -> None:
    reply = send_form(browser, "/admin/login/?next=/admin/", username="root", password=password)
    assert reply.status == 302
    assert reply.new_key is not None


def is_logged_in(browser: Browser) -> bool:
    return browser.get("/admin/").status == 200


def post(browser: Browser, path: str, **fields: str) -> Reply:
    return browser.post(path, {"csrfmiddlewaretoken": browser.cookies["csrftoken"], **fields})


def change_password(browser: Browser) -> Reply:
    return post(
        browser,
        "/admin/password_change/",
        old_password="secret",
        new_password1=NEW_PASSWORD,
        new_password2=NEW_PASSWORD,
    )


def test_the_admin_lets_staff_in_and_nobody_else(staff: Browser, engine: Engine) -> None:
    assert staff.get("/admin/").status == 302
    log_in(staff)
    assert staff.get("/admin/").status == 200
    assert staff.stranger().get("/admin/").status == 302


def test_the_admin_shows_a_list_and_a_change_page_and_sets_no_cookie_for_that(
    staff: Browser, engine: Engine
) -> None:
    root = User.objects.get()
    log_in(staff)
    assert b"1 user" in staff.get("/admin/auth/user/").body
    change = staff.get(f"/admin/auth/user/{root.pk}/change/")
    assert b"Change user" in change.body
    assert "sessionid" not in change.cookies


def test_what_was_added_is_told_once_and_is_among_the_recent_actions(
    staff: Browser, engine: Engine
) -> None:
    log_in(staff)
    assert post(staff, "/admin/auth/group/add/", name="editors").status == 302
    page = staff.get("/admin/auth/group/").body
    assert b"was added successfully" in page
    assert b"editors" in page
    assert b"was added successfully" not in staff.get("/admin/auth/group/").body
    assert b"editors" in staff.get("/admin/").body


def test_a_message_for_one_browser_is_not_shown_in_another(staff: Browser, engine: Engine) -> None:
    log_in(staff)
    other = staff.stranger()
    log_in(other)
    post(staff, "/admin/auth/group/add/", name="editors")
    assert b"was added successfully" not in other.get("/admin/auth/group/").body
    assert b"was added successfully" in staff.get("/admin/auth/group/").body


def test_a_logout_from_the_admin_ends_this_session_and_no_other(
    staff: Browser, engine: Engine
) -> None:
    log_in(staff)
    other = staff.stranger()
    log_in(other)
    ended = staff.key
    assert post(staff, "/admin/logout/").deletes_the_cookie
    assert not engine.SessionStore().exists(ended)
    assert not is_logged_in(staff)
    assert is_logged_in(other)


def test_a_password_change_in_the_admin_keeps_this_session_and_ends_the_others(
    staff: Browser, engine: Engine
) -> None:
    log_in(staff)
    other = staff.stranger()
    log_in(other)
    before = staff.key
    assert change_password(staff).new_key not in (None, before)
    assert not engine.SessionStore().exists(before)
    assert is_logged_in(staff)
    assert not is_logged_in(other)
    log_in(other, NEW_PASSWORD)


def test_the_admin_survives_a_rotation_of_the_secret(
    staff: Browser, engine: Engine, settings: Settings
) -> None:
    log_in(staff)
    rotate(settings)
    assert staff.get("/admin/").new_key is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert is_logged_in(staff)


def test_an_outage_logs_nobody_out_of_the_admin(
    staff: Browser, network_engine: Engine, outage: Outage, session_middleware: str
) -> None:
    log_in(staff)
    with outage():
        reply = staff.get("/admin/")
    assert reply.status == (503 if session_middleware == OURS else 500)
    assert reply.cookies == {}
    assert is_logged_in(staff)


def run_with_this_threads_database(request: Coroutine[Any, Any, Any]) -> Any:
    """Run one request so that its sync parts use this thread, whose transaction holds the user."""

    async def wait() -> Any:
        return await request

    return async_to_sync(wait)()


def test_the_admin_works_under_asgi(staff: Browser, engine: Engine) -> None:
    asgi = Browser(is_async=True, run=run_with_this_threads_database)
    log_in(asgi)
    post(asgi, "/admin/auth/group/add/", name="editors")
    assert b"was added successfully" in asgi.get("/admin/auth/group/").body
    before = asgi.key
    assert change_password(asgi).new_key not in (None, before)
    assert is_logged_in(asgi)
    assert post(asgi, "/admin/logout/").deletes_the_cookie
    assert not is_logged_in(asgi)
