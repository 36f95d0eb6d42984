"""The box in the login form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from django_multisession.engines.memory import SessionStore
from django_multisession.user_sessions import list_sessions
from django_multisession.user_sessions.forms import RememberMeAuthenticationForm
from tests.asked.conftest import PASSWORD

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

LOGIN = {"username": "ada", "password": PASSWORD}
TICKED = {**LOGIN, "remember_me": "on"}


class AWeek(RememberMeAuthenticationForm):
    remembered_for: ClassVar[timedelta | None] = timedelta(days=7)


def show(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


urlpatterns = [
    path(
        "login/",
        LoginView.as_view(
            authentication_form=RememberMeAuthenticationForm,
            # Any page with a form.
            template_name="django_multisession/reauthenticate.html",
        ),
    ),
    path("a-week/", LoginView.as_view(authentication_form=AWeek)),
    path("", show),
]


@pytest.fixture
def client(ada: User, settings: Settings) -> Client:
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_REDIRECT_URL = "/"
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    settings.MULTISESSION_IDLE_TIMEOUT = timedelta(minutes=30)
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=12)
    settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT = timedelta(days=60)
    return Client()


def is_logged_in(client: Client) -> bool:
    return client.get("/").content == b"ada"


def cookie_age(client: Client) -> Any:
    return client.cookies["sessionid"]["max-age"]


def test_a_session_that_is_remembered_lives_for_as_long_as_the_setting_says(
    client: Client, clock: Clock, ada: User
) -> None:
    client.post("/login/", TICKED)
    assert cookie_age(client) == timedelta(days=60).total_seconds()
    assert [each.is_remembered for each in list_sessions(ada)] == [True]
    clock.advance(timedelta(days=60, seconds=-1))
    assert is_logged_in(client)
    clock.advance(timedelta(seconds=1))
    assert not is_logged_in(client)


def test_a_session_that_is_not_has_the_timeouts_of_all_others(
    client: Client, clock: Clock, ada: User
) -> None:
    client.post("/login/", LOGIN)
    assert cookie_age(client) == ""
    assert [each.is_remembered for each in list_sessions(ada)] == [False]
    clock.advance(timedelta(minutes=29))
    assert is_logged_in(client)
    clock.advance(timedelta(minutes=30))
    assert not is_logged_in(client)


def test_a_form_may_say_how_long(client: Client, clock: Clock) -> None:
    client.post("/a-week/", TICKED)
    assert cookie_age(client) == timedelta(days=7).total_seconds()


def test_without_the_setting_it_is_thirty_days(client: Client, settings: Settings) -> None:
    del settings.MULTISESSION_ABSOLUTE_TIMEOUT, settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT
    client.post("/login/", TICKED)
    assert cookie_age(client) == timedelta(days=30).total_seconds()


def test_the_next_login_decides_anew(client: Client, ada: User) -> None:
    client.post("/login/", TICKED)
    client.post("/login/", LOGIN)
    assert [each.is_remembered for each in list_sessions(ada)] == [False]
    assert cookie_age(client) == ""


def test_the_choice_reaches_the_session_of_the_login_and_not_one_before_it(
    client: Client, ada: User
) -> None:
    User.objects.create_user("bob", password=PASSWORD)
    client.post("/login/", {**LOGIN, "username": "bob"})
    before = client.cookies["sessionid"].value
    client.post("/login/", TICKED)
    assert SessionStore(before).get("_auth_user_id") is None
    assert [each.is_remembered for each in list_sessions(ada)] == [True]


def test_a_wrong_password_remembers_no_one(client: Client, ada: User) -> None:
    page = client.post("/login/", {**TICKED, "password": "wrong"})
    assert page.context["form"].errors
    assert "sessionid" not in client.cookies


def test_a_form_without_a_request_is_valid_too(client: Client) -> None:
    assert RememberMeAuthenticationForm(None, TICKED).is_valid()


@pytest.mark.django_db(transaction=True)
def test_it_works_under_asgi(client: Client) -> None:
    async def log_in() -> Any:
        response = await AsyncClient().post("/login/", TICKED)
        return response.cookies["sessionid"]["max-age"]

    assert asyncio.run(log_in()) == timedelta(days=60).total_seconds()


def test_the_box_comes_last_and_needs_no_tick(client: Client) -> None:
    form: Callable[[], Any] = RememberMeAuthenticationForm
    assert list(form().fields) == ["username", "password", "remember_me"]
    assert form().fields["remember_me"].required is False
