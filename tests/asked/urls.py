"""A site whose pages ask again."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_multisession.decorators import recently_authenticated
from django_multisession.user_sessions.mixins import RecentlyAuthenticatedMixin
from django_multisession.user_sessions.permissions import RecentlyAuthenticated

WITHIN = timedelta(minutes=5)


@recently_authenticated(WITHIN)
def function(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("paid")


@recently_authenticated(WITHIN)
async def coroutine(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("paid")


@method_decorator(recently_authenticated(WITHIN), name="dispatch")
class Decorated(View):
    def get(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse("paid")

    post = get


class Mixed(RecentlyAuthenticatedMixin, View):
    authenticated_within: ClassVar[timedelta] = WITHIN

    def get(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse("paid")

    post = get


class MixedAsync(RecentlyAuthenticatedMixin, View):
    async def get(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse("paid")

    post = get


class Api(APIView):
    authentication_classes = (SessionAuthentication,)
    permission_classes = (RecentlyAuthenticated,)

    def get(self, _request: Request) -> Response:
        return Response("paid")


def warned(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string("{% load multisession %}{% session_end_warning 60 %}")
    return HttpResponse(template.render({}, request))


urlpatterns = [
    path("warned/", warned),
    path("function/", function),
    path("coroutine/", coroutine),
    path("decorated/", Decorated.as_view()),
    path("mixed/", Mixed.as_view()),
    path("mixed-async/", MixedAsync.as_view()),
    path("api/", Api.as_view()),
    path("login/", LoginView.as_view()),
    path("account/sessions/", include("django_multisession.user_sessions.urls")),
]
