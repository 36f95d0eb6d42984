"""No session key is in what an error reporter shows of a migration that fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory

from django_multisession.engines.memory import SessionStore
from django_multisession.middleware import SessionMiddleware
from django_multisession.testing.rows import for_each
from tests.moving import removed_app
from tests.moving.conftest import DJANGOS, leave
from tests.rows import restoring
from tests.unit.frames import caught, mail, shown

if TYPE_CHECKING:
    from pytest_django import Settings

# Made of pieces: an error mail shows the lines of files.
KEY = "".join(["0a1b2c3d"] * 4)


@pytest.fixture
def session_middleware() -> str:
    """These tests call it themselves."""
    return "django_multisession.middleware.SessionMiddleware"


def assert_hidden(error: BaseException, key: str) -> None:
    for report in (shown(error), mail(error)):
        assert key not in report


@for_each("fault", [RuntimeError, ImproperlyConfigured])
@for_each("is_async", [False, True])
@restoring
def test_an_old_engine_that_cannot_be_opened_shows_no_key(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_async: bool, fault: type[Exception]
) -> None:
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.MULTISESSION_MIGRATE_FROM = removed_app.__name__
    monkeypatch.setattr(removed_app.SessionStore, "fault", fault)
    session = SessionStore(KEY)

    def use() -> None:
        if is_async:
            asyncio.run(session.aget("cart"))
        else:
            session.get("cart")

    assert_hidden(caught(use, ImproperlyConfigured), KEY)


def respond(_request: Any) -> HttpResponse:
    return HttpResponse()


async def arespond(_request: Any) -> HttpResponse:
    return HttpResponse()


@for_each("is_async", [False, True])
@for_each("is_ours", [False, True], ids=["Django's key", "key of this package"])
@restoring
def test_a_way_back_to_an_engine_that_cannot_be_opened_shows_no_key(
    settings: Settings, is_async: bool, is_ours: bool
) -> None:
    settings.SESSION_ENGINE = SessionStore.__module__
    begun = SessionStore()
    begun["cart"] = ["tea"]
    begun.save()
    settings.SESSION_ENGINE = removed_app.__name__
    settings.MULTISESSION_MIGRATE_FROM = SessionStore.__module__
    key = str(begun.session_key) if is_ours else KEY
    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = key

    def visit() -> None:
        if is_async:
            asyncio.run(SessionMiddleware(arespond)(request))
        else:
            SessionMiddleware(respond)(request)

    assert_hidden(caught(visit, ImproperlyConfigured), key)


@for_each("is_async", [False, True])
@restoring
def test_a_fault_on_the_way_back_that_is_raised_shows_no_key(
    settings: Settings, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(settings, "cache")
    settings.SESSION_ENGINE = f"{DJANGOS}.cache"
    settings.MULTISESSION_MIGRATE_FROM = SessionStore.__module__
    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = KEY

    def fail(*_args: Any) -> Any:
        raise ImproperlyConfigured

    for name in ("exists", "aexists"):
        monkeypatch.setattr(f"{DJANGOS}.cache.SessionStore.{name}", fail)

    def visit() -> None:
        if is_async:
            asyncio.run(SessionMiddleware(arespond)(request))
        else:
            SessionMiddleware(respond)(request)

    assert_hidden(caught(visit, ImproperlyConfigured), KEY)
