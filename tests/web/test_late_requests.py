"""Requests that overlap a login, a logout or an end from elsewhere.

A page's body may await another request: that one then happens in the middle of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_multisession.core.records import Record
from django_multisession.drivers import base
from django_multisession.testing.driver.fixtures import make_end
from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import log_in, log_out, meanwhile, put, read, untouched, user
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings


async def create(visit: Visit) -> None:
    await visit.session.create()


async def save(visit: Visit) -> None:
    await visit.session.save()


async def cycle(visit: Visit) -> None:
    await visit.session.cycle_key()


async def append(visit: Visit) -> None:
    (await visit.session.get("cart")).append("milk")


async def set_expiry(visit: Visit) -> None:
    await visit.session.set_expiry(600)


def log_in_and_keep_the_old_cookie(browser: Browser) -> Browser:
    """Log in, and return a browser whose request was under way with the cookie from before."""
    browser.visit(put(cart=["tea"]))
    late = browser.copy()
    browser.visit(log_in("ada"))
    return late


@pytest.mark.parametrize("body", [untouched, read, user])
def test_a_late_request_with_the_old_cookie_leaves_the_new_login_alone(
    browser: Browser, engine: Engine, body: Body
) -> None:
    late = log_in_and_keep_the_old_cookie(browser)
    reply = late.visit(body)
    assert reply.status == 200
    assert reply.cookies == {}
    assert browser.visit(user).answer == "ada"


def test_a_late_request_sees_an_empty_session(browser: Browser, engine: Engine) -> None:
    late = log_in_and_keep_the_old_cookie(browser)
    assert late.visit(read).answer == {}
    assert late.visit(user).answer == ""


@pytest.mark.parametrize("body", [put(city="Rome"), create, save, set_expiry])
def test_a_late_write_is_interrupted_and_sends_no_cookie(
    browser: Browser, engine: Engine, count_stored: Count, body: Body
) -> None:
    late = log_in_and_keep_the_old_cookie(browser)
    before = count_stored()
    reply = late.visit(body)
    assert reply.status == 400
    assert reply.cookies == {}
    assert count_stored() == before
    assert browser.visit(user).answer == "ada"


@pytest.mark.parametrize("body", [untouched, read, user])
def test_a_late_request_saved_at_every_request_saves_nothing_and_sends_no_cookie(
    browser: Browser,
    engine: Engine,
    settings: Settings,
    session_middleware: str,
    count_stored: Count,
    body: Body,
) -> None:
    late = log_in_and_keep_the_old_cookie(browser)
    before = count_stored()
    settings.SESSION_SAVE_EVERY_REQUEST = True
    reply = late.visit(body)
    # Django's asks for a save, and whatever it is answered it sets a cookie, or interrupts.
    assert reply.status == (200 if session_middleware == OURS else 400)
    assert reply.cookies == {}
    assert count_stored() == before
    assert browser.visit(user).answer == "ada"


def test_a_late_request_after_another_login_of_the_same_user_leaves_it_alone(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    late = browser.copy()
    browser.visit(log_in("ada"))
    reply = late.visit(user)
    assert reply.answer == ""
    assert reply.cookies == {}
    assert browser.visit(user).answer == "ada"


def test_a_late_request_after_a_login_of_another_user_leaves_it_alone(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    late = browser.copy()
    browser.visit(log_in("bob"))
    reply = late.visit(read)
    assert reply.cookies == {}
    assert browser.visit(user).answer == "bob"


@pytest.mark.parametrize(
    "write", [put(city="Rome"), append, cycle, save, set_expiry], ids=lambda body: body.__name__
)
def test_a_write_under_way_during_a_logout_is_interrupted_and_revives_nothing(
    browser: Browser, engine: Engine, write: Body
) -> None:
    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    other, storage_key = browser.copy(), browser.storage_key
    reply = browser.visit(meanwhile(other, log_out, write))
    assert reply.status == 400
    assert reply.cookies == {}
    assert not isinstance(base.run(engine.driver.get(storage_key)), Record)
    assert browser.visit(user).answer == ""


def test_a_read_under_way_during_a_logout_sees_what_it_loaded_and_revives_nothing(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(cart=["tea"]))
    other, storage_key = browser.copy(), browser.storage_key
    reply = browser.visit(meanwhile(other, log_out, read))
    assert reply.answer == {"cart": ["tea"]}
    assert reply.cookies == {}
    assert not isinstance(base.run(engine.driver.get(storage_key)), Record)


@pytest.mark.parametrize("write", [put(city="Rome"), append, save], ids=lambda body: body.__name__)
def test_a_write_under_way_during_a_login_is_interrupted_and_leaves_the_login_alone(
    browser: Browser, engine: Engine, write: Body
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, log_in("ada"), write))
    assert reply.status == 400
    assert reply.cookies == {}
    assert other.visit(user).answer == "ada"
    assert other.visit(read).answer == {"cart": ["tea"]}


def test_a_device_whose_session_was_ended_is_logged_out_without_a_cookie(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    base.run(engine.driver.delete(browser.storage_key, make_end()))
    reply = browser.visit(user)
    assert reply.answer == ""
    assert reply.cookies == {}


def test_a_device_whose_session_was_ended_can_log_in_immediately(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    browser.visit(put(cart=["tea"]))
    before = browser.key
    base.run(engine.driver.delete(browser.storage_key, make_end()))
    assert browser.visit(log_in("ada")).new_key not in (None, before)
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {}


def test_logging_out_of_an_ended_session_deletes_the_cookie(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    base.run(engine.driver.delete(browser.storage_key, make_end()))
    assert browser.visit(log_out).deletes_the_cookie


def test_a_device_whose_session_was_ended_from_elsewhere_begins_one_new_session(
    browser: Browser, engine: Engine, count_stored: Count
) -> None:
    browser.visit(log_in("ada"))
    late, before = browser.copy(), count_stored()
    base.run(engine.driver.delete(browser.storage_key, make_end()))
    assert browser.visit(put(city="Rome")).new_key not in (None, late.key)
    # It took the tombstone's place, so a second tab can't begin another one.
    reply = late.visit(put(city="Oslo"))
    assert (reply.status, dict(reply.cookies)) == (400, {})
    assert browser.visit(read).answer == {"city": "Rome"}
    # The tombstone and the new session.
    assert count_stored() == before + 1


def test_a_late_logout_leaves_the_new_login_alone(browser: Browser, engine: Engine) -> None:
    late = log_in_and_keep_the_old_cookie(browser)
    reply = late.visit(log_out)
    assert (reply.status, dict(reply.cookies)) == (200, {})
    assert browser.visit(user).answer == "ada"


def test_a_logout_under_way_during_a_login_leaves_it_alone(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    reply = browser.visit(meanwhile(other, log_in("ada"), log_out))
    assert (reply.status, dict(reply.cookies)) == (200, {})
    assert other.visit(user).answer == "ada"


@pytest.mark.parametrize("is_under_way", [True, False])
def test_a_logout_ends_a_session_that_another_request_gave_a_new_key(
    browser: Browser, engine: Engine, *, is_under_way: bool
) -> None:
    browser.visit(log_in("ada"))
    other = browser.copy()
    if is_under_way:
        reply = browser.visit(meanwhile(other, cycle, log_out))
    else:
        other.visit(cycle)
        reply = browser.visit(log_out)
    assert reply.deletes_the_cookie
    assert other.visit(user).answer == ""
    assert not isinstance(base.run(engine.driver.get(other.storage_key)), Record)


@pytest.mark.parametrize("is_under_way", [True, False])
def test_a_login_ends_what_a_new_key_made_of_its_session(
    browser: Browser, engine: Engine, *, is_under_way: bool
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    if is_under_way:
        browser.visit(meanwhile(other, cycle, log_in("ada")))
    else:
        other.visit(cycle)
        browser.visit(log_in("ada"))
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {}
    assert not isinstance(base.run(engine.driver.get(other.storage_key)), Record)


def test_two_logins_on_one_session_both_live(browser: Browser, engine: Engine) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    browser.visit(meanwhile(other, log_in("bob"), log_in("ada")))
    assert browser.visit(user).answer == "ada"
    assert other.visit(user).answer == "bob"
