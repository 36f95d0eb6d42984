"""SECRET_KEY is replaced: with the old one as a fallback nobody notices, and then it can go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.pages import failing, log_in, put, read, untouched, user
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

NEW_SECRET = "another-secret-" + "y" * 50


def rotate(settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = NEW_SECRET


def test_sessions_go_on_after_a_rotation(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    rotate(settings)
    assert browser.visit(read).answer == {"city": "Rome"}


def test_one_visit_that_only_reads_renews_the_cookie(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    old = browser.key
    rotate(settings)
    assert browser.visit(read).new_key not in (None, old)
    assert browser.visit(read).cookies == {}, "it was renewed twice"


def test_after_one_visit_that_only_reads_the_fallback_can_go(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    rotate(settings)
    browser.visit(read)
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(read).answer == {"city": "Rome"}


def test_after_one_visit_that_writes_the_fallback_can_go(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    rotate(settings)
    browser.visit(put(cart=["tea"]))
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(read).answer == {"city": "Rome", "cart": ["tea"]}


def test_a_browser_length_cookie_is_renewed_too(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    browser.visit(put(city="Rome"))
    rotate(settings)
    reply = browser.visit(read)
    assert reply.cookie is not None
    assert reply.cookie["max-age"] == ""
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(read).answer == {"city": "Rome"}


def test_without_a_visit_the_session_ends_with_its_secret(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    rotate(settings)
    browser.visit(untouched)
    settings.SECRET_KEY_FALLBACKS = []
    reply = browser.visit(read)
    assert reply.answer == {}
    assert reply.deletes_the_cookie


def test_the_old_cookie_opens_the_session_while_the_fallback_is_there(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    # Requests that were under way when the cookie was renewed.
    browser.visit(put(city="Rome"))
    late = browser.copy()
    rotate(settings)
    browser.visit(read)
    reply = late.visit(put(cart=["tea"]))
    assert reply.new_key == browser.key
    assert browser.visit(read).answer == {"city": "Rome", "cart": ["tea"]}


def test_modified_set_to_false_prevents_the_save_also_during_a_rotation(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    async def set_and_take_back(visit: Visit) -> None:
        await visit.session.set("city", "Oslo")
        visit.store.modified = False

    browser.visit(put(city="Rome"))
    rotate(settings)
    browser.visit(set_and_take_back)
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_server_error_renews_nothing_and_loses_nothing(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    rotate(settings)
    assert browser.visit(failing(read)).cookies == {}
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_secret_that_was_only_announced_as_a_fallback_verifies_already(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    # A new secret goes to every process as a fallback first: some sign with it before others.
    old_secret = settings.SECRET_KEY
    rotate(settings)
    browser.visit(put(city="Rome"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = old_secret, [NEW_SECRET]
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_record_that_was_last_written_under_the_old_secret_is_sealed_anew(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    # Of two processes one signs with the new secret already: its cookie, the other's record.
    old_secret = settings.SECRET_KEY
    browser.visit(put(city="Rome"))
    rotate(settings)
    browser.visit(read)
    renewed = browser.copy()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = old_secret, [NEW_SECRET]
    browser.visit(put(city="Oslo"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_SECRET, [old_secret]
    renewed.visit(read)
    settings.SECRET_KEY_FALLBACKS = []
    assert renewed.visit(read).answer == {"city": "Oslo"}


def test_who_is_logged_in_stays_so_through_a_rotation(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    old = browser.key
    rotate(settings)
    reply = browser.visit(user)
    assert reply.answer == "ada"
    assert reply.new_key not in (None, old)
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_login_during_a_rotation_is_signed_by_the_new_secret(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(cart=["tea"]))
    rotate(settings)
    browser.visit(log_in("ada"))
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}


@pytest.mark.parametrize("name", ["ada", "bob"])
def test_a_login_again_during_a_rotation_is_signed_by_the_new_secret(
    browser: Browser, engine: Engine, settings: Settings, name: str
) -> None:
    browser.visit(log_in("ada"))
    rotate(settings)
    browser.visit(log_in(name))
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(user).answer == name


def test_without_a_fallback_everybody_is_logged_out_by_a_deleted_cookie(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(log_in("ada"))
    settings.SECRET_KEY = NEW_SECRET
    reply = browser.visit(user)
    assert reply.answer == ""
    assert reply.deletes_the_cookie
