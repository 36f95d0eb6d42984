"""Channels: who is logged in behind a websocket, and what ends that."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from django_multisession.exceptions import StoreUnavailable
from tests.clients.conftest import Outage, rotate
from tests.clients.consumers import (
    city,
    city_now,
    logging_in,
    logging_out,
    name,
    name_now,
    nothing,
    raised_by,
    saving,
)
from tests.clients.sockets import SocketSite
from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.pages import log_in, put, read, user

if TYPE_CHECKING:
    from pytest_django import Settings


def test_a_login_over_a_websocket_is_made_by_its_save(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    old = browser.key
    socket = sockets.open(browser)
    socket.ask(logging_in("ada", and_saving=False))
    assert socket.ask(name) == "ada"
    assert browser.visit(user).answer == ""
    assert browser.visit(read).answer == {"city": "Rome"}
    socket.ask(saving())
    assert not engine.SessionStore().exists(old)
    assert socket.ask(name_now) == "ada"
    assert socket.ask(city_now) == "Rome"


def test_a_login_over_a_websocket_gives_a_key_that_the_browser_does_not_get(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    # No cookie can be set once the handshake is over, on any engine: log in at a page instead.
    browser.visit(put(city="Rome"))
    sockets.open(browser).ask(logging_in("ada", and_saving=True))
    reply = browser.visit(read)
    assert reply.answer == {}
    assert reply.cookies == {}


def test_a_login_again_over_a_websocket_gives_a_new_key_too_unless_told_otherwise(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings
) -> None:
    browser.visit(log_in("ada"))
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    sockets.open(browser).ask(logging_in("ada", and_saving=True))
    assert browser.visit(user).answer == "ada"
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = True
    sockets.open(browser).ask(logging_in("ada", and_saving=True))
    assert browser.visit(user).answer == ""


def test_a_logout_over_a_websocket_ends_the_session_at_once(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(log_in("ada"))
    socket = sockets.open(browser)
    socket.ask(logging_out)
    assert socket.ask(name) == ""
    assert not engine.SessionStore().exists(browser.key)
    assert browser.visit(user).answer == ""


# SECRET_KEY is replaced


def test_a_socket_opens_with_a_key_that_only_a_fallback_verifies(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    rotate(settings)
    socket = sockets.open(browser)
    assert socket.ask(city) == "Rome"
    socket.ask(saving(city="Oslo"))
    assert browser.visit(read).answer == {"city": "Oslo"}


def test_after_a_page_of_djangos_a_login_outlives_a_rotation_over_websockets(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings
) -> None:
    browser.visit(log_in("ada"))
    rotate(settings)
    browser.visit(user)
    settings.SECRET_KEY_FALLBACKS = []
    assert sockets.open(browser).ask(name) == "ada"


def test_channels_ends_a_login_whose_password_hash_only_a_fallback_verifies(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings
) -> None:
    # Its copy of Django's get_user() knows no fallbacks (4.3), and flushes. Once it does, tell the
    # how-to about it and turn this around.
    browser.visit(log_in("ada"))
    rotate(settings)
    assert sockets.open(browser).ask(name) == ""
    assert not engine.SessionStore().exists(browser.key)


def test_a_user_looked_up_by_djangos_own_function_outlives_a_rotation(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings
) -> None:
    browser.visit(log_in("ada"))
    rotate(settings)
    socket = sockets.open(browser, knows_users=False)
    assert socket.ask(name_now) == "ada"
    assert socket.ask(name_now) == "ada"
    assert browser.visit(user).answer == "ada"


# Forged cookies, and outages

FORGED = "A" * 40


def test_a_forged_cookie_opens_a_socket_for_nobody_without_any_io(
    browser: Browser,
    network_engine: Engine,
    sockets: SocketSite,
    outage: Outage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser.key = FORGED
    with outage(), caplog.at_level(logging.DEBUG):
        socket = sockets.open(browser)
        assert socket.ask(name) == ""
        assert socket.ask(city) is None
    assert "a session key that this site did not sign" in caplog.text.lower()
    assert FORGED not in caplog.text


def test_a_consumer_that_does_not_use_the_session_pays_nothing_for_it(
    browser: Browser, network_engine: Engine, sockets: SocketSite, outage: Outage
) -> None:
    browser.visit(put(city="Rome"))
    with outage():
        socket = sockets.open(browser, knows_users=False)
        assert socket.ask(nothing) is None
        assert socket.ask(raised_by(city)) == "StoreUnavailable", "the server was not away"


def test_an_outage_refuses_a_socket_that_has_to_know_its_user_and_logs_nobody_out(
    browser: Browser, network_engine: Engine, sockets: SocketSite, outage: Outage
) -> None:
    browser.visit(log_in("ada"))
    with outage(), pytest.raises(StoreUnavailable):
        sockets.open(browser)
    assert sockets.open(browser).ask(name) == "ada"


def test_an_outage_in_anonymous_mode_opens_a_socket_for_nobody_that_saves_nothing(
    browser: Browser,
    network_engine: Engine,
    sockets: SocketSite,
    settings: Settings,
    outage: Outage,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    browser.visit(log_in("ada"))
    with outage():
        socket = sockets.open(browser)
        assert socket.ask(name) == ""
        assert socket.ask(raised_by(saving(city="Rome"))) == "StoreUnavailable"
    assert browser.visit(user).answer == "ada"
    assert sockets.open(browser).ask(name) == "ada"
