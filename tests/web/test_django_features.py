"""Parts of Django that live on the session: tokens, messages, the cache."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache

from django_multisession.drivers import base
from django_multisession.testing.driver.fixtures import make_end
from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.conftest import MIDDLEWARE
from tests.web.pages import log_in, put, read, user
from tests.web.visits import Visit, page

if TYPE_CHECKING:
    from pytest_django import Settings


# CSRF_USE_SESSIONS


@pytest.fixture
def tokens_in_sessions(settings: Settings) -> None:
    settings.CSRF_USE_SESSIONS = True


@pytest.mark.usefixtures("tokens_in_sessions")
def test_a_form_with_a_token_from_the_session_is_taken(browser: Browser, engine: Engine) -> None:
    token = browser.get(browser.path("token")).body.decode()
    assert set(browser.cookies) == {"sessionid"}
    reply = browser.post(browser.path("buy"), {"what": "tea", "csrfmiddlewaretoken": token})
    assert reply.answer == ["tea"]
    assert browser.visit(read).answer == {"cart": ["tea"]}


@pytest.mark.usefixtures("tokens_in_sessions")
def test_a_form_with_the_token_of_another_session_is_refused(
    browser: Browser, engine: Engine
) -> None:
    browser.get(browser.path("token"))
    token = browser.stranger().get(browser.path("token")).body.decode()
    reply = browser.post(browser.path("buy"), {"what": "tea", "csrfmiddlewaretoken": token})
    assert reply.status == 403
    assert browser.visit(read).answer == {}


@pytest.mark.usefixtures("tokens_in_sessions")
def test_a_token_from_before_login_is_refused_and_a_new_one_is_taken(
    browser: Browser, engine: Engine
) -> None:
    old = browser.get(browser.path("token")).body.decode()
    browser.visit(log_in("ada"))
    refused = browser.post(browser.path("buy"), {"what": "tea", "csrfmiddlewaretoken": old})
    assert refused.status == 403
    new = browser.get(browser.path("token")).body.decode()
    taken = browser.post(browser.path("buy"), {"what": "tea", "csrfmiddlewaretoken": new})
    assert taken.answer == ["tea"]


@pytest.mark.usefixtures("tokens_in_sessions")
def test_a_form_is_taken_right_after_its_session_was_ended_from_elsewhere(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    base.run(engine.driver.delete(browser.storage_key, make_end()))
    token = browser.get(browser.path("token")).body.decode()
    taken = browser.post(browser.path("buy"), {"what": "tea", "csrfmiddlewaretoken": token})
    assert taken.answer == ["tea"]
    assert browser.visit(user).answer == ""


@pytest.mark.usefixtures("tokens_in_sessions")
def test_a_late_request_leaves_the_new_login_alone_also_where_tokens_are_in_sessions(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(put(cart=["tea"]))
    late = browser.copy()
    browser.visit(log_in("ada"))
    reply = late.visit(read)
    assert reply.status == 200
    assert reply.cookies == {}


# Messages


@pytest.fixture
def messages_in_sessions(settings: Settings) -> None:
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"


@pytest.mark.usefixtures("messages_in_sessions")
def test_a_message_is_shown_once_at_the_next_page(browser: Browser, engine: Engine) -> None:
    browser.get("/say/?what=saved")
    browser.get("/say/?what=again")
    assert browser.stranger().get("/hear/").answer == []
    assert browser.get("/hear/").answer == ["saved", "again"]
    assert browser.get("/hear/").answer == []


@pytest.mark.usefixtures("messages_in_sessions")
def test_a_page_without_messages_stores_nothing(browser: Browser, engine: Engine) -> None:
    assert browser.get("/hear/").cookies == {}


@pytest.mark.usefixtures("messages_in_sessions")
def test_a_message_survives_a_login(browser: Browser, engine: Engine) -> None:
    browser.get("/say/?what=welcome")
    browser.visit(log_in("ada"))
    assert browser.get("/hear/").answer == ["welcome"]


# The cache middleware


@pytest.fixture
def cached_site(settings: Settings, session_middleware: str) -> Iterator[None]:
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        session_middleware,
        *MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    settings.CACHE_MIDDLEWARE_KEY_PREFIX = uuid.uuid4().hex
    yield
    cache.clear()


@pytest.mark.usefixtures("cached_site")
def test_a_cached_page_that_read_the_session_is_each_browsers_own(
    browser: Browser, engine: Engine
) -> None:
    other = browser.stranger()
    browser.visit(put(city="Rome"))
    other.visit(put(city="Oslo"))
    calls: list[str] = []

    async def city(visit: Visit) -> Any:
        calls.append("called")
        return await visit.session.get("city")

    with page(city) as name:
        path = browser.path("visit", name)
        for _ in range(2):
            assert browser.get(path).answer == "Rome"
            assert other.get(path).answer == "Oslo"
            assert browser.stranger().get(path).answer is None
    assert len(calls) == 3, "nothing was cached"


@pytest.mark.usefixtures("cached_site")
def test_a_response_that_begins_a_session_is_not_handed_to_the_next_browser(
    browser: Browser, engine: Engine
) -> None:
    with page(put(city="Rome")) as name:
        path = browser.path("visit", name)
        first, second = browser.get(path), browser.stranger().get(path)
    assert first.new_key is not None
    assert second.new_key not in (None, first.new_key)


@pytest.mark.usefixtures("cached_site")
def test_a_response_that_renewed_a_cookie_is_not_given_again(
    browser: Browser, engine: Engine, clock: Clock
) -> None:
    browser.visit(put(city="Rome"))
    late = browser.copy()
    clock.advance(seconds=60)
    with page(read) as name:
        path = browser.path("visit", name)
        assert browser.get(path).new_key == late.key
        browser.visit(log_in("ada"))
        # Given again it would overwrite the cookie of the login.
        assert late.get(path).cookies == {}
