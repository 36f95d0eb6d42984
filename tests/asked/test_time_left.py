"""The question how much time is left, which changes nothing, and the answer that is use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client

from django_multisession.core.records import Record
from django_multisession.drivers.base import run
from django_multisession.engines.memory import SessionStore
from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.engine.faults import FaultyDriver
from django_multisession.testing.engine.fixtures import storage_key
from tests.selection import OURS

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

PAGE = "/account/sessions/time-left/"
IDLE, ABSOLUTE = 1800, 7200


@pytest.fixture(autouse=True)
def timeouts(settings: Settings) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = IDLE
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = ABSOLUTE


def record(client: Client) -> Record:
    driver = SessionStore.get_driver()
    key = storage_key(client.cookies["sessionid"].value)
    found = run(driver.get(key))
    assert isinstance(found, Record)
    return found


def test_it_says_what_is_left_and_where_to_log_in(client: Client, clock: Clock) -> None:
    clock.advance(seconds=100)
    answer = client.get(PAGE).json()
    assert answer == {
        "logged_in": True,
        "idle": IDLE - 100,
        "absolute": ABSOLUTE - 100,
        "login_url": "/login/",
    }


@pytest.mark.parametrize("save_every_request", [False, True])
@pytest.mark.parametrize("at_browser_close", [False, True])
def test_a_question_is_no_use_writes_nothing_and_sets_no_cookie(
    client: Client,
    clock: Clock,
    settings: Settings,
    *,
    save_every_request: bool,
    at_browser_close: bool,
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = save_every_request
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = at_browser_close
    before = record(client).raw
    for _ in range(3):
        clock.advance(seconds=500)
        response = client.get(PAGE)
        assert response.json()["logged_in"] is True
        assert not response.cookies
        assert "no-store" in response.headers["Cache-Control"]
        assert response.headers["Vary"] == "Cookie"
    assert record(client).raw == before
    clock.advance(seconds=300)
    response = client.get(PAGE)
    assert response.json()["logged_in"] is False
    # Another tab's login may be on its way.
    assert not response.cookies


@pytest.mark.parametrize("session_middleware", [OURS], indirect=True)
@pytest.mark.parametrize("is_poll", [True, False])
def test_a_question_is_no_use_where_the_session_is_read_before_the_view(
    client: Client, clock: Clock, settings: Settings, *, is_poll: bool
) -> None:
    settings.CSRF_USE_SESSIONS = settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    before = record(client).raw
    clock.advance(seconds=1000)
    answer = client.get(PAGE, headers={"x-session-poll": "1"} if is_poll else {}).json()
    assert answer["idle"] == (IDLE - 1000 if is_poll else IDLE)
    assert (record(client).raw == before) is is_poll


def test_a_question_signs_nothing_anew(client: Client, ada: User, settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "new secret " * 5
    before = record(client).raw
    # The user is logged in all the same: Django's hash accepts a fallback.
    response = client.get(PAGE)
    assert response.json()["logged_in"] is True
    assert not response.cookies
    assert record(client).raw == before


def test_staying_is_use(client: Client, clock: Clock) -> None:
    clock.advance(seconds=1700)
    response = client.post(PAGE)
    assert response.json()["idle"] == IDLE
    assert response.json()["absolute"] == ABSOLUTE - 1700
    assert "sessionid" in response.cookies
    clock.advance(seconds=1700)
    assert client.get(PAGE).json() == {
        "logged_in": True,
        "idle": 100,
        "absolute": ABSOLUTE - 3400,
        "login_url": "/login/",
    }


@pytest.mark.parametrize("has_middleware", [True, False])
def test_staying_needs_a_token_which_the_question_brings(
    client: Client, settings: Settings, *, has_middleware: bool
) -> None:
    if not has_middleware:
        settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "csrf" not in each]
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(PAGE).status_code == 403
    strict.get("/account/sessions/reauthenticate/")
    token = strict.get(PAGE).json()["csrf_token"]
    assert strict.post(PAGE, headers={"x-csrftoken": token}).json()["logged_in"] is True


def test_no_one_who_is_logged_out_has_time_left(site: None) -> None:
    expected = {"logged_in": False, "idle": None, "absolute": None, "login_url": "/login/"}
    for response in (Client().get(PAGE), Client().post(PAGE)):
        assert response.json() == expected
        assert not response.cookies


def test_a_session_that_never_ends_has_no_time(
    client: Client, settings: Settings, ada: User
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = settings.MULTISESSION_ABSOLUTE_TIMEOUT = None
    client.force_login(ada)
    answer = client.get(PAGE).json()
    assert (answer["logged_in"], answer["idle"], answer["absolute"]) == (True, None, None)


@pytest.mark.parametrize("on_outage", ["error", "anonymous"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_outage_is_no_end(
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    on_outage: str,
    method: str,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = on_outage
    faulty = FaultyDriver(SessionStore.get_driver())
    monkeypatch.setattr(SessionStore, "get_driver", classmethod(lambda _cls: faulty))
    faulty.lose_answer("get", StoreUnavailable("No answer."))
    response = getattr(client, method)(PAGE)
    assert response.status_code == 503
    assert not response.cookies
    assert getattr(client, method)(PAGE).json()["logged_in"] is True


@pytest.mark.parametrize("method", ["put", "delete"])
def test_there_are_two_ways_to_ask(client: Client, method: str) -> None:
    assert getattr(client, method)(PAGE).status_code == 405


class ReadsAfterwards:
    """A middleware that looks at the session of every response."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        response.headers["X-User"] = str(request.session["_auth_user_id"])
        response.headers["X-Has-User"] = str("_auth_user_id" in request.session)
        response.headers["X-Name"] = request.user.get_username()
        return response


def test_a_middleware_behind_the_view_finds_the_session(
    client: Client, ada: User, settings: Settings
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.asked.test_time_left.ReadsAfterwards"]
    response = client.get(PAGE)
    assert (response.headers["X-User"], response.headers["X-Has-User"]) == (str(ada.pk), "True")
    assert response.headers["X-Name"] == "ada"
    assert not response.cookies


class WritesAfterwards:
    """A middleware that keeps something in the session of every response."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        request.session["seen"] = request.path
        del request.session["seen"]
        request.session["seen"] = request.path
        response.headers["X-Seen"] = request.session["seen"]
        return response


def test_a_question_saves_nothing_that_a_middleware_writes(
    client: Client, settings: Settings
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.asked.test_time_left.WritesAfterwards"]
    before = record(client).raw
    response = client.get(PAGE)
    assert (response.status_code, response.headers["X-Seen"]) == (200, PAGE)
    assert not response.cookies
    assert record(client).raw == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_user_whom_django_refuses_has_no_time_left(
    client: Client, ada: User, method: str
) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)
    answer = getattr(client, method)(PAGE).json()
    assert (answer["logged_in"], answer["idle"], answer["absolute"]) == (False, None, None)


def test_a_session_whose_user_has_another_password_has_no_time_left(
    client: Client, ada: User
) -> None:
    User.objects.filter(pk=ada.pk).update(password="another one")
    response = client.get(PAGE)
    assert response.json()["logged_in"] is False
    assert not response.cookies


# The template tag


def rendered(client: Client) -> str:
    return client.get("/warned/").content.decode()


def test_the_tag_loads_the_script_with_what_it_needs(client: Client, clock: Clock) -> None:
    clock.advance(seconds=1000)
    page = rendered(client)
    assert '<script src="/static/django_multisession/session-end.js" defer' in page
    assert f'data-url="{PAGE}"' in page
    # The page is use of the session.
    assert f'data-idle="{IDLE}"' in page
    assert f'data-absolute="{ABSOLUTE - 1000}"' in page
    assert 'data-warn-before="60"' in page
    assert 'data-csrf-token="' in page
    assert "csrftoken" in client.cookies


def test_on_a_page_without_a_user_it_tells_the_other_tabs(site: None) -> None:
    visitor = Client()
    page = rendered(visitor)
    assert "data-logged-out" in page
    assert "data-idle" not in page
    assert not visitor.cookies


def test_a_session_that_never_ends_is_rendered_without_seconds(
    client: Client, settings: Settings, ada: User
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = settings.MULTISESSION_ABSOLUTE_TIMEOUT = None
    client.force_login(ada)
    assert 'data-idle=""' in rendered(client)


# Under ASGI


@pytest.mark.django_db(transaction=True)
def test_under_asgi_a_question_sets_no_cookie_and_staying_does(
    client: Client, clock: Clock, settings: Settings
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    asgi = AsyncClient()
    asgi.cookies = client.cookies

    async def visit() -> tuple[Any, Any]:
        return await asgi.get(PAGE), await asgi.post(PAGE)

    clock.advance(seconds=1000)
    asked, stayed = asyncio.run(visit())
    assert (asked.json()["idle"], stayed.json()["idle"]) == (IDLE - 1000, IDLE)
    assert (bool(asked.cookies), "sessionid" in stayed.cookies) == (False, True)
