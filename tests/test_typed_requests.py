"""What mypy knows of ``request.session``; mypy checks this file, in strict mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import django.http
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path

from django_multisession.decorators import touch_exempt
from django_multisession.http import HttpRequest
from django_multisession.middleware import SessionMiddleware
from django_multisession.session.respond import Deadlines

if TYPE_CHECKING:
    from pytest_django import Settings


def untyped(request: django.http.HttpRequest) -> HttpResponse:
    # mypy reports it if django-stubs ever knows it, and then this class has served.
    return HttpResponse(request.session.deadlines())  # type: ignore[attr-defined]


@touch_exempt
def typed(request: HttpRequest) -> HttpResponse:
    assert_type(request.session.deadlines(), Deadlines)
    assert_type(request.session.counts_as_use, bool)
    return HttpResponse(str(request.session.deadlines().idle_deadline_at))


async def typed_async(request: HttpRequest) -> HttpResponse:
    assert_type(await request.session.adeadlines(), Deadlines)
    return HttpResponse("")


urlpatterns = [path("", typed), path("async", typed_async)]


def test_a_typed_view_takes_requests_as_they_are(settings: Settings) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.memory"
    view: Any = typed
    assert SessionMiddleware(view)(RequestFactory().get("/")).content == b"None"
