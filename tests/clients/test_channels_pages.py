"""Channels: pages of its own, by HTTP consumers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import SuspiciousOperation

from tests.clients.conftest import rotate
from tests.clients.consumers import city, logging_in, logging_out, name, setting
from tests.clients.sockets import SocketSite
from tests.conftest import Clock
from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.pages import log_in, put, read, user

if TYPE_CHECKING:
    from pytest_django import Settings

HOUR = timedelta(hours=1)


def test_a_page_of_channels_stores_a_new_session_and_sets_its_cookie(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    assert sockets.ask(browser, setting(city="Rome")).new_key is not None
    assert browser.visit(read).answer == {"city": "Rome"}
    assert sockets.ask(browser, city).answer == "Rome"


def test_a_page_of_channels_that_only_reads_stores_nothing_and_sets_no_cookie(
    browser: Browser, engine: Engine, sockets: SocketSite, count_stored: Count
) -> None:
    assert sockets.ask(browser, city).cookies == {}
    assert count_stored() == 0
    browser.visit(put(city="Rome"))
    assert sockets.ask(browser, city).cookies == {}


def test_a_page_of_channels_touches_and_renews_the_cookie_when_that_is_due(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = HOUR
    browser.visit(put(city="Rome"))
    for _ in range(3):
        clock.advance(HOUR / 2)
        reply = sockets.ask(browser, city)
        assert reply.cookie is not None
        assert reply.cookie["max-age"] == 3600
        assert reply.answer == "Rome"


def test_a_late_request_to_a_page_of_channels_leaves_the_new_login_alone(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    late = browser.copy()
    browser.visit(log_in("ada"))
    reply = sockets.ask(late, city)
    assert reply.answer is None
    assert reply.cookies == {}


def test_a_page_of_channels_that_changes_a_session_ended_elsewhere_is_interrupted(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    late = browser.copy()
    browser.visit(log_in("ada"))
    with pytest.raises(SuspiciousOperation):
        sockets.ask(late, setting(city="Oslo"))
    assert browser.visit(read).answer == {"city": "Rome"}


def test_channels_stores_an_empty_session_for_nobody_where_every_request_is_saved(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings, count_stored: Count
) -> None:
    # It saves before it asks whether there is anything to save, on Django's engines too.
    settings.SESSION_SAVE_EVERY_REQUEST = True
    assert sockets.ask(browser, city).cookies == {}
    assert count_stored() == 1


def test_channels_stores_an_empty_session_for_nobody_at_a_logout_over_http(
    browser: Browser, engine: Engine, sockets: SocketSite, count_stored: Count
) -> None:
    # As above. Where the session was there is a tombstone, which stays for a minute.
    browser.visit(log_in("ada"))
    before = count_stored()
    sockets.ask(browser, logging_out)
    assert browser.cookies == {}
    assert count_stored() == before + 1


def test_a_login_over_the_http_of_channels_gives_a_new_key_in_a_cookie(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    old = browser.key
    reply = sockets.ask(browser, logging_in("ada", and_saving=False))
    assert reply.new_key not in (None, old)
    assert not engine.SessionStore().exists(old)
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"city": "Rome"}
    assert sockets.open(browser).ask(name) == "ada"


def test_a_logout_over_the_http_of_channels_removes_the_cookie(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(log_in("ada"))
    old = browser.key
    assert sockets.ask(browser, logging_out).deletes_the_cookie
    assert not engine.SessionStore().exists(old)


def test_a_page_of_channels_renews_a_cookie_that_only_a_fallback_verifies(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    old = browser.key
    rotate(settings)
    assert sockets.ask(browser, city).new_key not in (None, old)
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.visit(read).answer == {"city": "Rome"}
