"""Views that only run for a user who authenticated lately."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client

from django_multisession.decorators import recently_authenticated
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions.mixins import RecentlyAuthenticatedMixin
from django_multisession.user_sessions.permissions import RecentlyAuthenticated
from tests.asked.conftest import PASSWORD
from tests.asked.urls import Api

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

ASK_AGAIN = "/account/sessions/reauthenticate/"
LOGIN = "/login/"
PAGES = ("/function/", "/coroutine/", "/decorated/", "/mixed/", "/mixed-async/")
JSON = {"accept": "application/json"}

# The user is read in another thread, with a connection of its own.
other_threads = pytest.mark.django_db(transaction=True)
every_page = pytest.mark.parametrize("page", PAGES)


def under_asgi(client: Client) -> AsyncClient:
    """Return a client with the cookies of *client*, for which ASGI serves the site."""
    asgi = AsyncClient()
    asgi.cookies = client.cookies
    return asgi


@every_page
def test_a_user_is_let_in_until_the_authentication_is_too_old(
    client: Client, clock: Clock, page: str
) -> None:
    clock.advance(timedelta(minutes=5, seconds=-1))
    assert client.get(page).content == b"paid"
    clock.advance(timedelta(seconds=1))
    refused = client.get(page)
    assert (refused.status_code, refused.headers["Location"]) == (302, f"{ASK_AGAIN}?next={page}")
    assert "no-store" in refused.headers["Cache-Control"]


@every_page
def test_a_clock_that_was_ahead_lets_no_one_in_until_the_others_catch_up(
    client: Client, clock: Clock, page: str
) -> None:
    clock.advance(timedelta(minutes=-1))
    assert client.get(page).content == b"paid"
    clock.advance(timedelta(hours=-9))
    assert client.get(page).status_code == 302
    client.post(ASK_AGAIN, {"password": PASSWORD})
    assert client.get(page).content == b"paid"
    clock.advance(timedelta(minutes=5))
    assert client.get(page).status_code == 302


@every_page
def test_an_anonymous_visitor_is_sent_to_the_login_page(site: None, page: str) -> None:
    refused = Client().get(f"{page}?a=1")
    assert refused.headers["Location"] == f"{LOGIN}?next={page}%3Fa%3D1"


@other_threads
@every_page
def test_pages_are_guarded_under_asgi_too(client: Client, clock: Clock, page: str) -> None:
    async def visit() -> tuple[bytes, str]:
        let_in = await asgi.get(page)
        clock.advance(timedelta(minutes=6))
        refused = await asgi.get(page)
        return let_in.content, refused.headers["Location"]

    asgi = under_asgi(client)
    assert asyncio.run(visit()) == (b"paid", f"{ASK_AGAIN}?next={page}")


@every_page
@pytest.mark.parametrize("is_logged_in", [True, False])
def test_a_client_that_prefers_json_receives_a_code(
    client: Client, clock: Clock, page: str, *, is_logged_in: bool
) -> None:
    clock.advance(timedelta(hours=1))
    asking = client if is_logged_in else Client()
    refused = asking.get(page, headers=JSON)
    assert refused.status_code == 403
    found = refused.json()
    assert (found["code"], found["url"]) == (
        ("reauthentication_required", ASK_AGAIN) if is_logged_in else ("not_authenticated", LOGIN)
    )


@pytest.mark.parametrize("accept", ["*/*", "text/html,application/json;q=0.9", "image/png", ""])
def test_any_other_client_is_sent_to_a_page(client: Client, clock: Clock, accept: str) -> None:
    clock.advance(timedelta(hours=1))
    assert client.get("/function/", headers={"accept": accept}).status_code == 302


@pytest.mark.parametrize(
    ("page", "after"),
    [
        ("http://testserver/basket/?a=1", "/basket/%3Fa%3D1"),
        ("http://testserver//evil.example/", "/%252Fevil.example/"),
        ("http://evil.example/basket/", "/decorated/"),
        ("javascript:alert(1)", "/decorated/"),
        ("", "/decorated/"),
    ],
)
def test_after_a_form_the_user_comes_back_to_its_page(
    client: Client, clock: Clock, page: str, after: str
) -> None:
    clock.advance(timedelta(hours=1))
    refused = client.post("/decorated/", headers={"referer": page} if page else {})
    assert refused.headers["Location"] == f"{ASK_AGAIN}?next={after}"


def test_a_login_page_on_another_host_receives_the_whole_address(
    site: None, settings: Settings
) -> None:
    settings.LOGIN_URL = "https://login.example/"
    refused = Client().get("/function/?a=1")
    expected = "https://login.example/?next=http%3A//testserver/function/%3Fa%3D1"
    assert refused.headers["Location"] == expected


def test_a_site_names_its_own_page_that_asks_again(
    client: Client, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_REAUTHENTICATION_URL = "/passkey/"
    clock.advance(timedelta(hours=1))
    assert client.get("/function/").headers["Location"] == "/passkey/?next=/function/"


def test_a_site_without_such_a_page_is_told(
    client: Client, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_REAUTHENTICATION_URL = "missing:page"
    clock.advance(timedelta(hours=1))
    with pytest.raises(ImproperlyConfigured, match="MULTISESSION_REAUTHENTICATION_URL"):
        client.get("/function/")


def test_the_session_of_one_user_says_nothing_of_another(
    client: Client, ada: User, settings: Settings
) -> None:
    User.objects.create_user("bob")
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.asked.test_recently_authenticated.as_bob"]
    for page in PAGES:
        assert client.get(page).headers["Location"].startswith(ASK_AGAIN)
    # And there is no loop: Bob's password would say nothing of Ada's session.
    assert client.get(ASK_AGAIN).status_code == 403


def as_bob(get_response: Any) -> Any:
    """Name another user than the session does, as a middleware for tokens may."""

    def respond(request: HttpRequest) -> Any:
        bob = User.objects.get(username="bob")

        async def auser() -> User:
            return bob

        request.user, request.auser = bob, auser
        return get_response(request)

    return respond


def test_an_engine_of_django_is_named(ada: User, settings: Settings) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    client = Client()
    client.force_login(ada)
    with pytest.raises(ImproperlyConfigured, match=r"backends\.db"):
        client.get("/function/")


@for_each("within", [timedelta(0), timedelta(-1), 300, None])
def test_an_age_that_would_open_or_close_a_view_is_refused(within: Any) -> None:
    with pytest.raises(ValueError, match="positive timedelta"):
        recently_authenticated(within)
    for base in (RecentlyAuthenticatedMixin, RecentlyAuthenticated):
        with pytest.raises(ValueError, match="positive timedelta"):
            type("Wrong", (base,), {"authenticated_within": within})


@other_threads
def test_an_async_class_based_view_answers_a_method_that_it_lacks(client: Client) -> None:
    async def visit() -> int:
        return int((await under_asgi(client).put("/mixed-async/")).status_code)

    assert asyncio.run(visit()) == 405


def test_the_name_and_the_docstring_of_a_view_stay() -> None:
    @recently_authenticated(timedelta(minutes=1))
    def pay(_request: HttpRequest) -> HttpResponse:
        """Take the money."""
        return HttpResponse()

    assert (pay.__name__, pay.__doc__) == ("pay", "Take the money.")


# Django REST framework


def test_an_api_asks_again_with_a_code(client: Client, clock: Clock) -> None:
    assert client.get("/api/").json() == "paid"
    clock.advance(timedelta(minutes=6))
    refused = client.get("/api/", headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    anonymous = Client().get("/api/", headers=JSON)
    assert (anonymous.status_code, "code" in anonymous.json()) == (403, False)


def test_an_api_user_of_a_token_is_not_the_one_of_the_session(
    client: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Token:
        def authenticate(self, _request: Any) -> tuple[User, str]:
            return bob, "token"

        def authenticate_header(self, _request: Any) -> str:
            return "Token"

    bob = User.objects.create_user("bob")
    monkeypatch.setattr(Api, "authentication_classes", (Token,))
    assert client.get("/api/", headers=JSON).json()["code"] == "reauthentication_required"
