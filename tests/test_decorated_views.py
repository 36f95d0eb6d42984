"""Views with the middleware as a decorator, and views that aren't use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.template.backends.django import DjangoTemplates
from django.template.response import TemplateResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.utils.decorators import decorator_from_middleware, method_decorator
from django.utils.module_loading import import_string
from django.views import View

from django_multisession.decorators import touch_exempt
from django_multisession.middleware import SessionMiddleware
from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.selection import DJANGOS, OURS

if TYPE_CHECKING:
    from pytest_django import Settings

TEMPLATES = DjangoTemplates({"NAME": "here", "DIRS": [], "APP_DIRS": False, "OPTIONS": {}})


def with_session(view: Any) -> Any:
    # In the test: the middleware reads SESSION_ENGINE when it is made.
    return decorator_from_middleware(SessionMiddleware)(view)


def ask(view: Callable[..., Any], cookie: str | None = None) -> HttpResponse:
    async def asked() -> HttpResponse:
        request = AsyncRequestFactory().get("/")
        if cookie is not None:
            request.COOKIES["sessionid"] = cookie
        response: HttpResponse = await view(request)
        return response

    return asyncio.run(asked())


def cookie_of(response: HttpResponse) -> str:
    return str(response.cookies["sessionid"].value)


# The middleware of a single view


async def count(request: HttpRequest) -> HttpResponse:
    seen = await request.session.aget("seen", 0)
    await request.session.aset("seen", seen + 1)
    return HttpResponse(str(seen))


def test_an_async_view_under_the_decorated_middleware_is_saved(
    engine_of_each_kind: Engine,
) -> None:
    first = ask(with_session(count))
    second = ask(with_session(count), cookie_of(first))
    assert (first.content, second.content) == (b"0", b"1")
    assert engine_of_each_kind.SessionStore(cookie_of(first)).get("seen") == 2


async def show(request: HttpRequest) -> HttpResponse:
    await request.session.aset("seen", 1)
    return TemplateResponse(request, TEMPLATES.from_string("{{ seen }}"), {"seen": 1})


def test_a_response_that_is_rendered_later_is_saved_too(engine_of_each_kind: Engine) -> None:
    response = ask(with_session(show))
    # The handler renders it, in a thread.
    response.render()  # type: ignore[attr-defined]  # a TemplateResponse
    assert engine_of_each_kind.SessionStore(cookie_of(response)).get("seen") == 1


async def log_out(request: HttpRequest) -> HttpResponse:
    await request.session.aflush()
    return HttpResponse("bye")


def test_a_logout_under_the_decorated_middleware_removes_the_cookie(
    engine_of_each_kind: Engine,
) -> None:
    cookie = cookie_of(ask(with_session(count)))
    assert cookie_of(ask(with_session(log_out), cookie)) == ""
    assert engine_of_each_kind.SessionStore(cookie).get("seen") is None


# Views that aren't use


@touch_exempt
def poll(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("name"))


@touch_exempt
async def apoll(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("name"))


@method_decorator(touch_exempt, name="dispatch")
class Poll(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session.get("name"))


def visit(view: Callable[..., Any], cookie: str, middleware: Any) -> HttpResponse:
    if asyncio.iscoroutinefunction(view):
        return ask(middleware(view), cookie)
    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = cookie
    response: HttpResponse = middleware(view)(request)
    return response


@pytest.mark.parametrize("view", [poll, apoll, Poll.as_view()], ids=["sync", "async", "class"])
@pytest.mark.parametrize("path", [DJANGOS, OURS])
def test_a_view_that_is_not_use_lets_the_session_end(
    engine_of_each_kind: Engine,
    settings: Settings,
    clock: Clock,
    view: Callable[..., Any],
    path: str,
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 600
    session = engine_of_each_kind.SessionStore()
    session["name"] = "ada"
    session.save()
    cookie = session.session_key
    assert cookie is not None
    middleware = import_string(path)
    for _ in range(3):
        clock.advance(seconds=190)
        response = visit(view, cookie, middleware)
        assert response.content == b"ada"
        assert "sessionid" not in response.cookies
    clock.advance(seconds=190)
    assert engine_of_each_kind.SessionStore(cookie).get("name") is None


@pytest.mark.parametrize("view", [poll, apoll])
def test_the_name_and_the_docstring_of_a_view_stay(view: Callable[..., Any]) -> None:
    assert view.__name__ in {"poll", "apoll"}
    assert asyncio.iscoroutinefunction(view) == (view.__name__ == "apoll")


def test_a_view_that_is_not_use_works_without_a_session() -> None:
    def healthy(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("healthy")

    assert touch_exempt(healthy)(RequestFactory().get("/")).content == b"healthy"
