"""Channels: a session over a websocket, and over one that stays open."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from channels import auth as channels_auth
from channels.db import database_sync_to_async

from tests.clients.consumers import (
    city,
    city_and_use,
    city_now,
    name,
    name_now,
    raised_by,
    saving,
    setting,
)
from tests.clients.sockets import Scope, SocketSite
from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.pages import log_in, log_out, put, read, user

if TYPE_CHECKING:
    from pytest_django import Settings

HOUR = timedelta(hours=1)


def test_a_consumer_reads_what_a_page_stored(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    assert sockets.open(browser).ask(city) == "Rome"


def test_a_consumer_knows_who_logged_in_at_a_page(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(log_in("ada"))
    assert sockets.open(browser).ask(name) == "ada"
    assert sockets.open(browser.stranger()).ask(name) == ""


def test_what_a_consumer_saves_is_seen_by_the_next_page_with_the_same_cookie(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key
    sockets.open(browser).ask(saving(city="Oslo"))
    assert browser.visit(read).answer == {"city": "Oslo"}
    assert browser.key == key


def test_what_a_sync_consumer_saves_in_a_thread_is_seen_by_the_next_page(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    async def save_in_a_thread(scope: Scope) -> None:
        @database_sync_to_async
        def save() -> None:
            scope["session"]["city"] = scope["session"]["city"].upper()
            scope["session"].save()

        await save()

    browser.visit(put(city="Rome"))
    sockets.open(browser).ask(save_in_a_thread)
    assert browser.visit(read).answer == {"city": "ROME"}


def test_a_websocket_saves_nothing_that_its_consumer_does_not_save(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    socket = sockets.open(browser)
    socket.ask(setting(city="Oslo"))
    assert socket.ask(city) == "Oslo"
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_consumer_and_a_page_that_change_one_session_both_keep_their_change(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    socket = sockets.open(browser)
    socket.ask(city)
    browser.visit(put(cart=["tea"]))
    socket.ask(saving(city="Oslo"))
    assert browser.visit(read).answer == {"city": "Oslo", "cart": ["tea"]}


def test_two_sockets_of_one_session_both_keep_their_change(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    one, other = sockets.open(browser), sockets.open(browser)
    one.ask(city)
    other.ask(city)
    one.ask(saving(tea=1))
    other.ask(saving(milk=2))
    one.ask(saving(tea=3))
    assert browser.visit(read).answer == {"city": "Rome", "tea": 3, "milk": 2}


@pytest.mark.parametrize("knows_users", [False, True])
def test_sync_access_in_an_async_consumer_works_once_the_session_was_read(
    browser: Browser, engine: Engine, sockets: SocketSite, knows_users: bool
) -> None:
    async def read_in_sync(scope: Scope) -> Any:
        return scope["session"]["city"]

    browser.visit(put(city="Rome"))
    socket = sockets.open(browser, knows_users=knows_users)
    # Channels' AuthMiddleware read it.
    assert socket.ask(raised_by(read_in_sync)) == (
        "" if knows_users else "SynchronousOnlyOperation"
    )
    socket.ask(city)
    assert socket.ask(read_in_sync) == "Rome"


# A socket that stays open


def test_the_session_of_a_scope_is_as_it_was_when_it_was_first_read(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    browser.visit(put(city="Rome"))
    socket = sockets.open(browser)
    browser.visit(put(city="Oslo"))
    assert socket.ask(city) == "Rome"
    assert socket.ask(city_now) == "Oslo"


@pytest.mark.parametrize("ending", [log_out, log_in("bob")], ids=["log_out", "log_in"])
def test_only_a_session_read_anew_tells_a_socket_that_its_user_has_gone(
    browser: Browser, engine: Engine, sockets: SocketSite, ending: Any
) -> None:
    async def name_by_channels(scope: Scope) -> Any:
        return (await channels_auth.get_user(scope)).get_username()

    browser.visit(log_in("ada"))
    socket = sockets.open(browser)
    assert socket.ask(name_now) == "ada"
    browser.visit(ending)
    assert socket.ask(name_by_channels) == "ada", "Channels reads anew: shorten the docs"
    assert socket.ask(name_now) == ""


@pytest.mark.parametrize("ending", [log_out, log_in("ada")], ids=["log_out", "log_in"])
def test_a_consumer_cannot_save_a_session_that_was_ended_elsewhere(
    browser: Browser, engine: Engine, sockets: SocketSite, ending: Any
) -> None:
    browser.visit(log_in("ada"))
    old = browser.key
    socket = sockets.open(browser)
    browser.visit(ending)
    assert socket.ask(raised_by(saving(city="Rome"))) == "SessionEnded"
    assert socket.ask(raised_by(saving(city="Oslo"))) == "SessionEnded"
    assert not engine.SessionStore().exists(old)
    assert browser.visit(read).answer == {}


def test_a_password_changed_elsewhere_ends_a_session_that_a_socket_reads_anew(
    browser: Browser, engine: Engine, sockets: SocketSite
) -> None:
    other = browser.stranger()
    browser.visit(log_in("ada"))
    other.visit(log_in("ada"))
    socket = sockets.open(browser)
    other.visit(lambda visit: visit.change_password("another password"))
    assert socket.ask(name_now) == ""
    assert not engine.SessionStore().exists(browser.key)
    assert other.visit(user).answer == "ada"


def test_an_open_socket_does_not_keep_its_session_alive(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = HOUR
    browser.visit(put(city="Rome"))
    socket = sockets.open(browser)
    for _ in range(3):
        clock.advance(HOUR / 2)
        assert socket.ask(city) == "Rome"
    assert socket.ask(city_now) is None
    assert browser.visit(read).answer == {}


def test_a_consumer_keeps_its_session_alive_by_saving_when_it_says_modified(
    browser: Browser, engine: Engine, sockets: SocketSite, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = HOUR
    browser.visit(put(city="Rome"))
    socket = sockets.open(browser)
    for _ in range(3):
        clock.advance(HOUR / 2)
        assert socket.ask(city_and_use) == "Rome"
    assert browser.visit(read).answer == {"city": "Rome"}
