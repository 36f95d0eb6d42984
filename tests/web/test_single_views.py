"""Our middleware around one view, by Django's `decorator_from_middleware`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import decorator_from_middleware

from django_multisession.decorators import View
from django_multisession.middleware import SessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

#: django-stubs permits it for sync views only.
with_session = cast("Callable[[View], View]", decorator_from_middleware(SessionMiddleware))


@with_session
def count(request: HttpRequest) -> HttpResponse:
    request.session["count"] = request.session.get("count", 0) + 1
    return HttpResponse(request.session["count"])


@with_session
async def acount(request: HttpRequest) -> HttpResponse:
    await request.session.aset("count", await request.session.aget("count", 0) + 1)
    return HttpResponse(await request.session.aget("count"))


@with_session
async def asave(request: HttpRequest) -> HttpResponse:
    await request.session.aset("count", await request.session.aget("count", 0) + 1)
    await request.session.asave()
    return HttpResponse(await request.session.aget("count"))


@with_session
async def aread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("count", 0))


urlpatterns = [
    path("count/", count),
    path("acount/", acount),
    path("asave/", asave),
    path("aread/", aread),
]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    settings.SESSION_ENGINE = "django_multisession.engines.memory"


def test_a_sync_view_has_a_session() -> None:
    client = Client()
    assert [client.get("/count/").content for _ in range(2)] == [b"1", b"2"]


def visit(*paths: str) -> list[bytes]:
    """Visit the async views of *paths*, one after the other."""

    async def visiting() -> list[bytes]:
        client = AsyncClient()
        return [(await client.get(path)).content for path in paths]

    return asyncio.run(visiting())


def test_an_async_view_that_saves_by_itself_has_a_session() -> None:
    assert visit("/asave/", "/asave/", "/aread/") == [b"1", b"2", b"2"]


def test_an_async_view_that_leaves_its_save_to_the_response_is_told_what_to_use() -> None:
    with pytest.raises(SynchronousOnlyOperation, match="in MIDDLEWARE"):
        visit("/acount/")
