"""Requests that are legal and rare: an answer without a page, a date long past."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden

from django_multisession.drivers import base
from django_multisession.middleware import SessionMiddleware
from django_multisession.testing.driver.fixtures import make_end
from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import failing, log_in, put, read
from tests.web.test_several_cookies import bring, key_of, storage_key_of
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def session_middleware() -> str:
    return OURS


class Forbids(SessionMiddleware):
    """Answers by itself, as a subclass of a Django middleware may."""

    def process_request(self, request: HttpRequest) -> HttpResponse:  # type: ignore[override]  # as above
        super().process_request(request)
        return HttpResponseForbidden()


def test_what_a_subclass_answers_by_itself_is_the_answer(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    settings.MIDDLEWARE = [f"{__name__}.Forbids"]
    assert browser.visit(put(city="Oslo")).status == 403
    settings.MIDDLEWARE = [OURS]
    assert browser.visit(read).answer == {"city": "Rome"}


@pytest.mark.parametrize("saves_always", [False, True])
def test_a_page_that_fails_leaves_a_dead_cookie_alone_also_if_it_was_cleared_unread(
    browser: Browser, engine: Engine, settings: Settings, *, saves_always: bool
) -> None:
    async def clear(visit: Visit) -> None:
        visit.store.clear()

    settings.SESSION_SAVE_EVERY_REQUEST = saves_always
    key = key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, key), make_end()))
    assert bring(browser, failing(clear), key).cookies == {}


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_a_verb_that_needs_no_entries_looks_at_every_cookie(
    browser: Browser, engine: Engine, verb: str
) -> None:
    async def act(visit: Visit) -> None:
        await getattr(visit.session, verb)()

    ended, live = key_of(browser, city="Oslo"), key_of(browser, city="Rome")
    base.run(engine.driver.delete(storage_key_of(browser, ended), make_end()))
    assert bring(browser, act, ended, live).status == 200
    if verb == "delete":
        assert not engine.SessionStore().exists(live)


def test_an_expiry_long_past_is_a_cookie_that_ends_now(browser: Browser, engine: Engine) -> None:
    async def expire(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        await visit.session.set_expiry(-(10**11))

    reply = browser.visit(expire)
    assert reply.status == 200
    assert reply.cookie is None or reply.cookie["max-age"] == 0
    assert browser.visit(read).answer == {}


def test_two_cookies_of_another_engine_are_judged_as_django_does(
    browser: Browser, settings: Settings
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    live = browser.visit(put(city="Rome")).new_key
    stranger = browser.stranger()
    assert bring(stranger, read, "x" * 32, live).answer == {"city": "Rome"}


@pytest.mark.parametrize("page", ["{% url 'nowhere' %}", "{% nonsense %}"])
def test_a_503_page_that_cannot_be_rendered_is_a_503_still(
    *,
    browser: Browser,
    network_engine: Engine,
    unreachable: Callable[[], None],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    page: str,
) -> None:
    loader = ("django.template.loaders.locmem.Loader", {"503.html": page})
    backend: Any = "django.template.backends.django.DjangoTemplates"
    settings.TEMPLATES = [{"BACKEND": backend, "OPTIONS": {"loaders": [loader]}}]
    browser.visit(put(city="Rome"))
    unreachable()
    reply = browser.visit(read)
    assert (reply.status, reply.cookies) == (503, {})
    assert "503.html cannot be rendered." in caplog.messages


def test_a_choice_of_ignoring_lets_an_interrupted_page_out_without_a_cookie(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    async def changed_while_it_ends(visit: Visit) -> str:
        await visit.session.set("city", "Oslo")
        base.run(engine.driver.delete(storage_key, make_end())) if not browser.is_async else (
            await base.arun(engine.driver.delete(storage_key, make_end()))
        )
        return "a page"

    browser.visit(put(city="Rome"))
    storage_key = browser.storage_key
    settings.MULTISESSION_ON_INTERRUPTED = "ignore"
    reply = browser.visit(changed_while_it_ends)
    assert (reply.status, reply.answer, reply.cookies) == (200, "a page", {})
    assert browser.visit(read).answer == {}
    assert browser.visit(log_in("ada")).new_key
