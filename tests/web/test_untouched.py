"""What a request does not pay for: no cookie, no record and no I/O without a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from django_multisession.testing.rows import for_each
from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.pages import log_in, log_out, put, read, untouched, user
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings


async def flush(visit: Visit) -> None:
    await visit.session.flush()


def test_an_untouched_request_gets_no_cookie(
    browser: Browser, engine: Engine, count_stored: Count
) -> None:
    reply = browser.visit(untouched)
    assert reply.cookies == {}
    assert not reply.varies_by_cookie
    assert count_stored() == 0


def test_an_untouched_request_with_a_session_gets_no_cookie(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(city="Rome"))
    reply = browser.visit(untouched)
    assert reply.cookies == {}
    assert not reply.varies_by_cookie


def test_an_untouched_request_does_no_io(
    browser: Browser, network_engine: Engine, unreachable: Callable[[], None]
) -> None:
    browser.visit(put(city="Rome"))
    unreachable()
    assert browser.visit(untouched).status == 200
    assert browser.visit(read).status in (500, 503), "the server was not away"


def test_a_request_without_a_session_that_only_reads_does_no_io(
    browser: Browser, network_engine: Engine, unreachable: Callable[[], None]
) -> None:
    unreachable()
    assert browser.visit(read).answer == {}
    assert browser.visit(user).answer == ""


async def set_and_pop(visit: Visit) -> None:
    await visit.session.set("city", "Rome")
    await visit.session.pop("city")


@pytest.fixture(params=[False, True], ids=["", "save_every_request"])
def save_every_request(request: pytest.FixtureRequest, settings: Settings) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = request.param


@pytest.mark.usefixtures("save_every_request")
@for_each("body", [untouched, read, user, flush, log_out, set_and_pop])
def test_an_empty_new_session_is_never_stored_by_a_response(
    browser: Browser, engine: Engine, count_stored: Count, body: Body
) -> None:
    reply = browser.visit(body)
    assert reply.status == 200
    assert reply.cookie is None
    assert count_stored() == 0


def test_an_anonymous_read_says_that_it_depends_on_the_cookie(
    browser: Browser, engine: Engine
) -> None:
    assert browser.visit(read).varies_by_cookie


def test_who_is_logged_in_is_read_without_a_cookie_in_the_response(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    reply = browser.visit(user)
    assert reply.answer == "ada"
    assert reply.cookies == {}


def test_a_session_saved_at_every_request_sends_its_cookie_at_every_request(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key
    settings.SESSION_SAVE_EVERY_REQUEST = True
    for body in (untouched, read):
        reply = browser.visit(body)
        assert reply.new_key == key
        assert reply.varies_by_cookie
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_session_saved_at_every_request_is_not_saved_by_a_server_error(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    async def fail(visit: Visit) -> None:
        await visit.session.set("city", "Oslo")
        raise ZeroDivisionError

    browser.visit(put(city="Rome"))
    settings.SESSION_SAVE_EVERY_REQUEST = True
    assert browser.visit(fail).cookies == {}
    assert browser.visit(read).answer == {"city": "Rome"}
