"""django-allauth with its list of a user's sessions, which keeps session keys in a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import update_session_auth_hash, user_logged_in
from django.contrib.auth.models import User
from django.core.checks.registry import registry
from django.core.management import call_command
from django.test import override_settings

from tests.clients.conftest import rotate, send_form
from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser, Reply
from tests.web.pages import put, read
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker, Settings

APPS = ["django.contrib.humanize", "allauth", "allauth.account", "allauth.usersessions"]
ACCOUNT_MIDDLEWARE = "allauth.account.middleware.AccountMiddleware"
TRACKING_MIDDLEWARE = "allauth.usersessions.middleware.UserSessionsMiddleware"

SESSIONS = "/accounts/sessions/"
NEW_PASSWORD = "another secret 2"


@pytest.fixture(scope="session")
def allauth_tables(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Tables that no other test needs, and so not in tests/settings.py."""
    from django.conf import settings

    with (
        forgetting_the_apps(),
        django_db_blocker.unblock(),
        # Two steps: the app looks for its middleware while it is installed.
        override_settings(MIDDLEWARE=[ACCOUNT_MIDDLEWARE]),
        override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, *APPS]),
    ):
        call_command("migrate", "account", verbosity=0)
        call_command("migrate", "usersessions", verbosity=0)


@contextmanager
def forgetting_the_apps() -> Iterator[None]:
    """Undo what apps do to the process when they are installed: no test expects that of another."""
    receivers, checks = list(user_logged_in.receivers), set(registry.registered_checks)
    registered = dict(admin.site._registry)
    yield
    user_logged_in.receivers, registry.registered_checks = receivers, checks
    admin.site._registry = registered


@pytest.fixture(autouse=True)
def accounts(
    allauth_tables: None, users_in_database: None, browser: Browser, settings: Settings
) -> Iterator[None]:
    """A site with allauth, and two users."""
    with forgetting_the_apps():
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, ACCOUNT_MIDDLEWARE]
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *APPS]
        settings.AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
        settings.ROOT_URLCONF = "tests.clients.allauth_urls"
        settings.LOGIN_REDIRECT_URL = SESSIONS
        settings.ACCOUNT_EMAIL_VERIFICATION = "none"
        settings.ACCOUNT_RATE_LIMITS = False
        for name in ("ada", "bob"):
            User.objects.create_user(name, password="secret")
        yield


@pytest.fixture
def laptop(browser: Browser, engine: Engine) -> Browser:
    """A browser where Ada has signed in."""
    sign_in(browser)
    return browser


@pytest.fixture
def phone(laptop: Browser) -> Browser:
    """Another one."""
    phone = laptop.stranger()
    sign_in(phone)
    return phone


def sign_in(browser: Browser, name: str = "ada", password: str = "secret") -> Reply:
    reply = send_form(browser, "/accounts/login/", login=name, password=password)
    assert reply.status == 302
    assert reply.new_key is not None
    return reply


def is_signed_in(browser: Browser) -> bool:
    return browser.get(SESSIONS).status == 200


def table() -> Any:
    """Return allauth's model; it can be imported only while its app is installed."""
    return apps.get_app_config("usersessions").get_model("UserSession")


def rows() -> list[str]:
    """Return the session keys of allauth's table, in the order in which they were entered."""
    return list(table().objects.order_by("pk").values_list("session_key", flat=True))


def change_password(browser: Browser) -> Reply:
    return send_form(
        browser,
        "/accounts/password/change/",
        oldpassword="secret",
        password1=NEW_PASSWORD,
        password2=NEW_PASSWORD,
    )


def test_who_signs_in_gets_a_new_key_and_is_in_the_list(browser: Browser, engine: Engine) -> None:
    browser.visit(put(cart=["tea"]))
    before = browser.key
    sign_in(browser)
    assert browser.key != before
    assert rows() == [browser.key]
    assert not engine.SessionStore().exists(before)
    assert browser.visit(read).answer["cart"] == ["tea"]


def test_a_session_key_fits_the_table(laptop: Browser, engine: Engine) -> None:
    assert len(laptop.key or "") == table()._meta.get_field("session_key").max_length


def test_the_list_shows_every_browser_of_the_user_and_which_is_the_current_one(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    other = laptop.stranger()
    sign_in(other, "bob")
    assert rows() == [laptop.key, phone.key, other.key]
    page = laptop.get(SESSIONS).body.decode()
    assert page.count("127.0.0.1") == 2
    assert page.count("Current") == 1


def test_ending_the_others_from_the_page_ends_them_and_not_this_one(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    assert send_form(laptop, SESSIONS).status == 302
    assert not engine.SessionStore().exists(phone.key)
    assert not is_signed_in(phone)
    assert is_signed_in(laptop)
    assert rows() == [laptop.key]


def test_who_was_ended_from_the_page_can_sign_in_again_at_once(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    send_form(laptop, SESSIONS)
    sign_in(phone)
    assert is_signed_in(phone)
    assert rows() == [laptop.key, phone.key]


def test_a_request_under_way_does_not_bring_back_what_was_ended_from_the_page(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    async def save_meanwhile(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        send_form(laptop, SESSIONS)

    ended = phone.key
    assert phone.visit(save_meanwhile).status == 400
    assert not engine.SessionStore().exists(ended)
    assert not is_signed_in(phone)


def test_sign_out_ends_the_session_and_takes_it_off_the_list(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    ended = laptop.key
    assert send_form(laptop, "/accounts/logout/").status == 302
    assert not engine.SessionStore().exists(ended)
    assert not is_signed_in(laptop)
    assert phone.get(SESSIONS).body.decode().count("127.0.0.1") == 1
    assert rows() == [phone.key]


def test_a_session_that_ran_out_leaves_the_list(
    clock: Clock, laptop: Browser, engine: Engine, settings: Settings
) -> None:
    phone = laptop.stranger()
    sign_in(phone)
    clock.advance(seconds=settings.SESSION_COOKIE_AGE // 2)
    # Not the list: allauth reads every session for it, and that is use.
    assert phone.visit(read).status == 200
    clock.advance(seconds=settings.SESSION_COOKIE_AGE // 2)
    assert is_signed_in(phone)
    assert rows() == [phone.key]


def test_a_password_change_keeps_this_session_and_ends_the_others(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    before = laptop.key
    assert change_password(laptop).new_key not in (None, before)
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)
    assert rows() == [laptop.key]


def test_a_password_change_ends_this_session_too_where_the_site_says_so(
    laptop: Browser, phone: Browser, engine: Engine, settings: Settings
) -> None:
    settings.ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
    before = laptop.key
    assert change_password(laptop).status == 302
    assert not engine.SessionStore().exists(before)
    assert not is_signed_in(laptop)
    assert not is_signed_in(phone)


def test_a_site_that_ends_the_other_sessions_at_a_password_change_keeps_this_one(
    laptop: Browser, phone: Browser, engine: Engine
) -> None:
    # Every row whose key is not this session's: Django gave it a new one, so that its old key's
    # row is among them.
    async def change_and_end_others(visit: Visit) -> None:
        user: Any = visit.request.user
        user.set_password(NEW_PASSWORD)
        user.save()
        update_session_auth_hash(visit.request, user)
        for row in table().objects.filter(user=user).exclude(session_key=visit.store.session_key):
            row.end()

    before = laptop.key
    assert laptop.visit(change_and_end_others).status == 200
    assert not engine.SessionStore().exists(before)
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)


def test_remember_me_sets_how_long_the_cookie_lives(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    forgotten = sign_in(browser).cookie
    assert forgotten is not None
    assert forgotten["max-age"] == ""
    remembered = send_form(
        browser.stranger(), "/accounts/login/", login="ada", password="secret", remember="on"
    ).cookie
    assert remembered is not None
    assert remembered["max-age"] == settings.SESSION_COOKIE_AGE


def test_tracking_every_request_enters_no_row_for_an_ended_session(
    laptop: Browser, phone: Browser, engine: Engine, settings: Settings
) -> None:
    settings.USERSESSIONS_TRACK_ACTIVITY = True
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, TRACKING_MIDDLEWARE]
    send_form(laptop, SESSIONS)
    assert not is_signed_in(phone)
    assert is_signed_in(laptop)
    assert rows() == [laptop.key]


def test_looking_at_the_list_while_the_secret_is_replaced_ends_nobodys_session(
    laptop: Browser, phone: Browser, engine: Engine, settings: Settings
) -> None:
    rotate(settings)
    assert is_signed_in(laptop)
    assert is_signed_in(phone)
    assert is_signed_in(laptop)


def test_the_others_can_be_ended_while_the_secret_is_replaced(
    laptop: Browser, phone: Browser, engine: Engine, settings: Settings
) -> None:
    rotate(settings)
    assert send_form(laptop, SESSIONS).status == 302
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)


def test_the_others_can_be_ended_by_a_form_from_before_the_secret_was_replaced(
    laptop: Browser, phone: Browser, engine: Engine, settings: Settings
) -> None:
    token = laptop.cookies["csrftoken"]
    rotate(settings)
    assert laptop.post(SESSIONS, {"csrfmiddlewaretoken": token}).status == 302
    assert is_signed_in(laptop)
    assert not is_signed_in(phone)


# Its "remember me"


@pytest.mark.parametrize(
    ("sent", "days"), [({"remember": "on"}, 60), ({}, None)], ids=["ticked", "not ticked"]
)
def test_the_box_of_allauth_has_the_lengths_that_the_page_on_it_says(
    browser: Browser,
    engine: Engine,
    settings: Settings,
    clock: Clock,
    sent: dict[str, str],
    days: int | None,
) -> None:
    settings.SESSION_COOKIE_AGE = 60 * 24 * 60 * 60
    settings.MULTISESSION_IDLE_TIMEOUT = timedelta(minutes=30)
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=12)
    settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT = timedelta(days=60)
    reply = send_form(browser, "/accounts/login/", login="ada", password="secret", **sent)
    assert reply.cookie is not None
    age = "" if days is None else int(timedelta(days=days).total_seconds())
    assert str(reply.cookie["max-age"]) == str(age)
    clock.advance(timedelta(minutes=31))
    assert is_signed_in(browser) is (days is not None)
