"""What a client is shown whose login is denied: by Django, a login form, and Django REST framework."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import alogin, login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_multisession.engine import close_drivers
from django_multisession.user_sessions import at_limit, list_sessions
from django_multisession.user_sessions.forms import SessionLimitMixin
from tests.selection import DJANGOS, OURS

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

MESSAGE = "You are logged in on as many devices as are allowed. Log out on one of them first."


class LoginForm(SessionLimitMixin, AuthenticationForm):
    pass


def home(request: HttpRequest) -> JsonResponse:
    cart = request.session.get("cart", [])
    return JsonResponse({"user": request.user.get_username(), "cart": cart})


def put(request: HttpRequest) -> HttpResponse:
    request.session["cart"] = ["tea"]
    return HttpResponse()


def enter(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get())
    return HttpResponse("welcome")


async def aenter(request: HttpRequest) -> HttpResponse:
    await alogin(request, await User.objects.aget())
    return HttpResponse("welcome")


def enter_and_save(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get())
    try:
        request.session.save()
    except PermissionDenied as error:
        return HttpResponse(str(error), status=409)
    return HttpResponse("welcome")


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


class Enter(APIView):
    authentication_classes = ()

    def post(self, request: Request) -> Response:
        login(request._request, User.objects.get())
        request._request.session.save()
        return Response({"welcome": True})


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(f"{request.user.is_anonymous} {exception}", status=403)


handler403 = refused
urlpatterns = [
    path("home", home),
    path("put", put),
    path("enter", enter),
    path("aenter", aenter),
    path("enter-and-save", enter_and_save),
    path("leave", leave),
    path("login", LoginView.as_view(form_class=LoginForm, success_url="/home")),
    path("login/plain", LoginView.as_view(next_page="/home")),
    path("api", Enter.as_view()),
]


@pytest.fixture(params=[OURS, DJANGOS], autouse=True)
def middleware(request: pytest.FixtureRequest, settings: Settings) -> str:
    settings.SESSION_ENGINE = "django_multisession.engines.memory"
    settings.MULTISESSION_MAX_SESSIONS, settings.MULTISESSION_AT_LIMIT = 1, "deny"
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_REDIRECT_URL = "/home"
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    settings.MIDDLEWARE = [
        request.param,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    close_drivers()
    User.objects.create_user("ada", password="secret")
    return str(request.param)


@pytest.fixture
def first(middleware: str) -> Client:
    browser = Client()
    assert browser.get("/enter").content == b"welcome"
    return browser


@pytest.fixture
def second(first: Client) -> Client:
    """A visitor with a cart, whose login is denied."""
    browser = Client()
    browser.get("/put")
    return browser


def see(browser: Client) -> Any:
    return browser.get("/home").json()


VISITOR = {"user": "", "cart": ["tea"]}


def test_the_middleware_answers_403_and_the_visitor_keeps_the_cart(
    first: Client, second: Client, middleware: str
) -> None:
    cookie = second.cookies["sessionid"].value
    answer = second.get("/enter")
    assert answer.status_code == 403
    # Django's own middleware knows nothing of the user whom the view logged in.
    assert answer.content.decode() == f"{middleware == OURS} {MESSAGE}"
    assert "sessionid" not in answer.cookies
    assert second.cookies["sessionid"].value == cookie
    assert see(second) == VISITOR
    assert see(first) == {"user": "ada", "cart": []}
    first.get("/leave")
    assert second.get("/enter").content == b"welcome"
    assert see(second) == {"user": "ada", "cart": ["tea"]}


def test_an_async_view_answers_403(first: Client, second: Client) -> None:
    async def visit() -> Any:
        browser = AsyncClient()
        browser.cookies = second.cookies
        return await browser.get("/aenter")

    assert asyncio.run(visit()).status_code == 403
    assert see(second) == VISITOR


def test_a_view_that_saves_shows_a_page_of_its_own(first: Client, second: Client) -> None:
    answer = second.get("/enter-and-save")
    assert (answer.status_code, answer.content.decode()) == (409, MESSAGE)
    assert see(second) == VISITOR


def test_a_login_form_shows_the_message(first: Client, second: Client) -> None:
    form = {"username": "ada", "password": "secret"}
    request = HttpRequest()
    request.session = second.session
    given = LoginForm(request, form)
    assert given.non_field_errors() == [MESSAGE]
    assert given.has_error("__all__", "session_limit")
    assert LoginForm(request, {**form, "password": "x"}).errors.as_data()["__all__"][0].code == (
        "invalid_login"
    )
    assert second.post("/login/plain", form).status_code == 403
    first.get("/leave")
    assert LoginForm(request, form).is_valid()


def test_a_login_form_lets_the_user_of_the_session_log_in_again(first: Client) -> None:
    request = HttpRequest()
    request.session = first.session
    assert at_limit(User.objects.get())
    assert LoginForm(request, {"username": "ada", "password": "secret"}).is_valid()
    assert first.get("/enter").content == b"welcome"
    assert len(list_sessions(User.objects.get())) == 1


def test_django_rest_framework_answers_in_json(first: Client, second: Client) -> None:
    answer = second.post("/api", {})
    assert (answer.status_code, answer.json()) == (403, {"detail": MESSAGE})
    assert see(second) == VISITOR
    first.get("/leave")
    assert second.post("/api", {}).json() == {"welcome": True}
