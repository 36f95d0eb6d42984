"""From Django's ``signed_cookies``, where the cookie is the session and each save makes another one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.engine_fixtures import Engine
from tests.moving.conftest import Old, leave, login
from tests.web.browser import Browser
from tests.web.pages import log_out, read, user

if TYPE_CHECKING:
    from pytest_django import Settings

MINUTE = timedelta(minutes=1)


@pytest.fixture
def old_cookies(settings: Settings, engine: Engine) -> Old:
    # Django's signer reads the machine's clock.
    settings.MULTISESSION_MIGRATE_SINCE = datetime.now(UTC) + MINUTE
    return leave(settings, "signed_cookies")


def test_a_login_goes_on_under_a_key(browser: Browser, old_cookies: Old) -> None:
    value = old_cookies.begin(browser, cart=["tea"], **login("ada"))
    again = browser.copy()
    assert browser.visit(user).answer == "ada"
    assert browser.key != value
    assert len(browser.key or "") == 40
    assert again.visit(read).answer == {"cart": ["tea"]}
    assert again.key == browser.key


def test_a_cookie_that_was_signed_after_the_switch_is_no_session(
    browser: Browser, old_cookies: Old, settings: Settings
) -> None:
    settings.MULTISESSION_MIGRATE_SINCE = datetime.now(UTC) - MINUTE
    old_cookies.begin(browser, cart=["tea"])
    reply = browser.visit(read)
    assert (reply.answer, reply.deletes_the_cookie) == ({}, True)


def test_a_cookie_that_was_changed_is_no_session(browser: Browser, old_cookies: Old) -> None:
    value = old_cookies.begin(browser, cart=["tea"])
    browser.key = value[:-1] + ("A" if value[-1] != "A" else "B")
    reply = browser.visit(read)
    assert (reply.answer, reply.deletes_the_cookie) == ({}, True)


def test_a_captured_cookie_is_worth_nothing_after_a_logout(
    browser: Browser, old_cookies: Old, forget_tombstones: Callable[[], None]
) -> None:
    old_cookies.begin(browser, **login("ada"))
    thief = browser.copy()
    browser.visit(user)
    browser.visit(log_out)
    forget_tombstones()
    assert thief.visit(user).answer == ""


def test_a_secret_that_was_rotated_before_still_opens_old_cookies(
    browser: Browser, old_cookies: Old, settings: Settings
) -> None:
    old_cookies.begin(browser, cart=["tea"])
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_the_mark_outlives_a_secret(
    browser: Browser,
    old_cookies: Old,
    settings: Settings,
    forget_tombstones: Callable[[], None],
) -> None:
    old_cookies.begin(browser, **login("ada"))
    thief = browser.copy()
    browser.visit(user)
    browser.visit(log_out)
    forget_tombstones()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50
    assert thief.visit(user).answer == ""
