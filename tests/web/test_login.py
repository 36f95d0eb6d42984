"""Every login gets a new session key; a logout ends the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.pages import crashing, failing, log_in, log_out, put, read, user
from tests.web.people import BACKEND, person
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings


def by_hand(name: str) -> Body:
    """Log *name* in as code does that knows Django's entries and not its login()."""

    async def body(visit: Visit) -> None:
        await visit.session.set("_auth_user_id", str(person(name).pk))
        await visit.session.set("_auth_user_backend", BACKEND)
        await visit.session.set("_auth_user_hash", person(name).get_session_auth_hash())

    return body


def by_hand_in_one_update(name: str) -> Body:
    async def body(visit: Visit) -> None:
        await visit.session.update(
            {
                "_auth_user_id": str(person(name).pk),
                "_auth_user_backend": BACKEND,
                "_auth_user_hash": person(name).get_session_auth_hash(),
            }
        )

    return body


Login = Callable[[str], Body]
every_login = pytest.mark.parametrize("login", [log_in, by_hand, by_hand_in_one_update])
every_failure = pytest.mark.parametrize("fail", [failing, crashing])


@every_login
def test_login_gives_a_new_key_keeps_the_entries_and_ends_the_old_session(
    browser: Browser, engine: Engine, login: Login
) -> None:
    browser.visit(put(cart=["tea"]))
    anonymous = browser.key
    reply = browser.visit(login("ada"))
    assert reply.new_key not in (None, anonymous)
    assert not engine.SessionStore().exists(anonymous)
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert browser.visit(user).answer == "ada"


@every_login
def test_login_without_a_session_makes_one(browser: Browser, engine: Engine, login: Login) -> None:
    assert browser.visit(login("ada")).new_key is not None
    assert browser.visit(user).answer == "ada"


@every_login
def test_login_of_the_same_user_again_gives_a_new_key(
    browser: Browser, engine: Engine, login: Login
) -> None:
    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(login("ada")).new_key not in (None, before)
    assert not engine.SessionStore().exists(before)
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert browser.visit(user).answer == "ada"


def test_login_of_another_user_starts_an_empty_session(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(log_in("bob")).new_key not in (None, before)
    assert not engine.SessionStore().exists(before)
    assert browser.visit(read).answer == {}
    assert browser.visit(user).answer == "bob"


@pytest.mark.parametrize("login", [by_hand, by_hand_in_one_update])
def test_a_login_by_hand_keeps_the_key_where_the_site_says_so(
    browser: Browser, engine: Engine, settings: Settings, login: Login
) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(login("ada")).new_key == before
    assert browser.visit(user).answer == "ada"


def test_login_of_the_same_user_again_keeps_the_key_where_the_site_says_so(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    browser.visit(log_in("ada"))
    before = browser.key
    browser.visit(log_in("ada"))
    assert browser.key == before
    assert browser.visit(user).answer == "ada"


def test_a_first_login_gives_a_new_key_whatever_the_site_says(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.MULTISESSION_ALWAYS_CYCLE_ON_LOGIN = False
    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(log_in("ada")).new_key not in (None, before)


@every_login
@every_failure
def test_a_server_error_after_login_leaves_the_old_session_as_it_was(
    browser: Browser, engine: Engine, login: Login, fail: Callable[[Body], Body]
) -> None:
    browser.visit(put(cart=["tea"]))
    before = browser.key
    reply = browser.visit(fail(login("ada")))
    assert reply.status == 500
    assert reply.cookie is None
    assert browser.key == before
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert browser.visit(user).answer == ""


@every_failure
def test_a_server_error_after_another_login_leaves_the_user_logged_in(
    browser: Browser, engine: Engine, fail: Callable[[Body], Body]
) -> None:
    browser.visit(log_in("ada"))
    before = browser.key
    assert browser.visit(fail(log_in("ada"))).cookie is None
    assert browser.key == before
    assert browser.visit(user).answer == "ada"


def test_login_works_after_a_login_that_failed(browser: Browser, engine: Engine) -> None:
    browser.visit(put(cart=["tea"]))
    browser.visit(crashing(log_in("ada")))
    browser.visit(log_in("ada"))
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_the_new_key_is_known_before_the_response(browser: Browser, engine: Engine) -> None:
    async def log_in_and_tell(visit: Visit) -> str:
        await visit.log_in("ada")
        return str(visit.store.session_key)

    browser.visit(put(cart=["tea"]))
    reply = browser.visit(log_in_and_tell)
    assert reply.answer == reply.new_key


def test_logout_ends_the_session_and_deletes_the_cookie(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    late = browser.copy()
    reply = browser.visit(log_out)
    assert reply.deletes_the_cookie
    assert not engine.SessionStore().exists(late.key)
    assert late.visit(user).answer == ""


def test_what_is_set_after_logout_begins_a_new_session(browser: Browser, engine: Engine) -> None:
    async def log_out_and_greet(visit: Visit) -> None:
        await visit.log_out()
        await visit.session.set("greeting", "goodbye")

    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(log_out_and_greet).new_key not in (None, before)
    assert browser.visit(read).answer == {"greeting": "goodbye"}
    assert browser.visit(user).answer == ""


def test_login_after_logout_gives_a_new_key(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    before = browser.key
    browser.visit(log_out)
    assert browser.visit(log_in("ada")).new_key not in (None, before)
    assert browser.visit(user).answer == "ada"


def test_logout_and_login_in_one_request_give_a_new_key(browser: Browser, engine: Engine) -> None:
    async def log_in_anew(visit: Visit) -> None:
        await visit.log_out()
        await visit.log_in("bob")

    browser.visit(log_in("ada"))
    before = browser.key
    assert browser.visit(log_in_anew).new_key not in (None, before)
    assert not engine.SessionStore().exists(before)
    assert browser.visit(user).answer == "bob"


def test_a_password_change_gives_a_new_key_and_keeps_the_user_logged_in(
    browser: Browser, engine: Engine
) -> None:
    async def change_password(visit: Visit) -> None:
        await visit.change_password("another")

    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(change_password).new_key not in (None, before)
    assert not engine.SessionStore().exists(before)
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_password_change_logs_other_devices_out(browser: Browser, engine: Engine) -> None:
    async def change_password(visit: Visit) -> None:
        await visit.change_password("another")

    browser.visit(log_in("ada"))
    phone = browser.stranger()
    phone.visit(log_in("ada"))
    browser.visit(change_password)
    reply = phone.visit(user)
    assert reply.answer == ""
    assert reply.deletes_the_cookie


def test_a_cycled_key_keeps_the_entries_and_ends_the_old_one(
    browser: Browser, engine: Engine
) -> None:
    async def cycle(visit: Visit) -> None:
        await visit.session.cycle_key()

    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(cycle).new_key not in (None, before)
    assert not engine.SessionStore().exists(before)
    assert browser.visit(read).answer == {"cart": ["tea"]}


@pytest.mark.parametrize("name", ["ada", "bob"])
def test_two_logins_in_one_request_are_one_new_session(
    browser: Browser, engine: Engine, count_stored: Count, name: str
) -> None:
    async def log_in_twice(visit: Visit) -> None:
        await visit.log_in("ada")
        await visit.log_in(name)

    assert browser.visit(log_in_twice).new_key is not None
    assert count_stored() == 1
    assert browser.visit(user).answer == name


def test_logout_after_login_in_one_request_ends_the_old_session_too(
    browser: Browser, engine: Engine
) -> None:
    async def log_in_and_out(visit: Visit) -> None:
        await visit.log_in("ada")
        await visit.log_out()

    browser.visit(put(cart=["tea"]))
    before = browser.key
    assert browser.visit(log_in_and_out).deletes_the_cookie
    assert not engine.SessionStore().exists(before)
