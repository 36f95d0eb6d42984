"""The page on which a user authenticates again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import pytest
from django import forms
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from django_multisession.engines.memory import SessionStore
from django_multisession.signals import session_key_changed
from django_multisession.testing.engine.fixtures import heard
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions.reauthentication import ReauthenticateView
from tests.asked import urls
from tests.asked.conftest import PASSWORD
from tests.rows import restoring

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

PAGE = "/account/sessions/reauthenticate/"
RIGHT = {"password": PASSWORD}


def session(client: Client) -> SessionStore:
    return SessionStore(client.cookies["sessionid"].value)


def test_the_password_lets_a_user_go_on(client: Client, clock: Clock) -> None:
    clock.advance(timedelta(hours=1))
    asked = client.get("/function/")
    page = client.get(asked.headers["Location"])
    assert page.status_code == 200
    assert page.context["redirect_url"] == "/function/"
    after = client.post(PAGE, {**RIGHT, "next": page.context["redirect_url"]})
    assert after.headers["Location"] == "/function/"
    assert client.get("/function/").content == b"paid"
    assert session(client).authenticated_at == clock.now


def test_the_key_changes_and_everything_else_stays(client: Client, clock: Clock) -> None:
    store = session(client)
    store["cart"] = ["tea"]
    store.save()
    old, before = store.session_key, dict(store.items())
    clock.advance(timedelta(hours=1))
    with heard(session_key_changed) as changes, heard(user_logged_in) as logins:
        client.post(PAGE, RIGHT)
    assert [each["reason"] for each in changes] == ["authentication"]
    assert logins == []
    assert session(client).session_key != old
    assert dict(session(client).items()) == before
    assert SessionStore(old).get(SESSION_KEY) is None


@pytest.mark.parametrize("sent", [{"password": "wrong"}, {"password": ""}, {}])
def test_a_wrong_password_changes_nothing(
    client: Client, clock: Clock, sent: dict[str, str]
) -> None:
    clock.advance(timedelta(hours=1))
    key = session(client).session_key
    with heard(user_login_failed) as failures:
        page = client.post(PAGE, sent)
    assert page.status_code == 200
    assert page.context["form"].errors
    assert session(client).session_key == key
    assert client.get("/function/").status_code == 302
    is_tried = bool(sent.get("password"))
    assert len(failures) == is_tried
    for failure in failures:
        assert failure["credentials"]["username"] == "ada"
        # What django-axes counts by.
        assert failure["request"].path == PAGE


def test_the_password_of_another_user_does_not_count(client: Client, clock: Clock) -> None:
    User.objects.create_user("bob", password="another one")
    clock.advance(timedelta(hours=1))
    assert client.post(PAGE, {"password": "another one", "username": "bob"}).status_code == 200
    assert client.get("/function/").status_code == 302


class AnyoneIsBob:
    """A backend that finds another user than the named one, as an alias may."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User:
        return User.objects.get(username="bob")

    def get_user(self, user_id: int) -> User:
        return User.objects.get(pk=user_id)


def test_a_backend_that_finds_another_user_does_not_count(
    client: Client, clock: Clock, settings: Settings
) -> None:
    User.objects.create_user("bob")
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.asked.test_reauthentication.AnyoneIsBob",
    ]
    clock.advance(timedelta(hours=1))
    assert client.post(PAGE, {"password": "wrong"}).status_code == 200
    assert client.get("/function/").status_code == 302


def test_an_upgrade_of_the_hash_logs_no_one_out(
    client: Client, ada: User, clock: Clock, settings: Settings
) -> None:
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    clock.advance(timedelta(hours=1))
    with heard(session_key_changed) as changes:
        assert client.post(PAGE, RIGHT).status_code == 302
    assert [each["reason"] for each in changes] == ["authentication"]
    assert User.objects.get(pk=ada.pk).password.startswith("pbkdf2")
    assert client.get("/function/").content == b"paid"


def test_an_anonymous_visitor_logs_in_instead(site: None) -> None:
    expected = f"/login/?next={PAGE}%3Fnext%3D/function/"
    assert Client().get(f"{PAGE}?next=/function/").headers["Location"] == expected
    assert Client().post(PAGE, RIGHT).headers["Location"].startswith("/login/")


@for_each(
    ("address", "after"),
    [
        ("/function/?a=1", "/function/?a=1"),
        ("http://testserver/function/", "http://testserver/function/"),
        ("", "/welcome/"),
        ("https://evil.example/", "/welcome/"),
        ("//evil.example/", "/welcome/"),
        ("/\\evil.example/", "/welcome/"),
        ("javascript:alert(1)", "/welcome/"),
        ("http:///evil.example", "/welcome/"),
    ],
)
@restoring
def test_next_leads_nowhere_else(
    client: Client, settings: Settings, address: str, after: str
) -> None:
    settings.LOGIN_REDIRECT_URL = "/welcome/"
    assert client.post(PAGE, {**RIGHT, "next": address}).headers["Location"] == after


def test_next_does_not_leave_https(client: Client, settings: Settings) -> None:
    settings.LOGIN_REDIRECT_URL = "/welcome/"
    sent = {**RIGHT, "next": "http://testserver/function/"}
    after = client.post(PAGE, sent, secure=True, headers={"referer": "https://testserver/"})
    assert after.headers["Location"] == "/welcome/"


def test_the_page_needs_the_token_of_its_form_under_any_middleware(
    client: Client, ada: User, settings: Settings
) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "csrf" not in each]
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(PAGE, RIGHT).status_code == 403
    strict.get(PAGE)
    token = strict.cookies["csrftoken"].value
    assert strict.post(PAGE, {**RIGHT, "csrfmiddlewaretoken": token}).status_code == 302
    assert strict.cookies["csrftoken"].value != token


def test_no_cache_keeps_the_page_and_no_report_shows_what_was_sent(client: Client) -> None:
    for page in (client.get(PAGE), client.post(PAGE, {"password": "wrong"})):
        assert "no-store" in page.headers["Cache-Control"]
        assert page.wsgi_request.sensitive_post_parameters == "__ALL__"  # type: ignore[attr-defined]  # set by Django's decorator
        assert b"wrong" not in page.content


def test_the_page_tells_a_user_without_a_password_what_to_do(client: Client, ada: User) -> None:
    assert b"has no password" not in client.get(PAGE).content
    ada.set_unusable_password()
    ada.save()
    client.force_login(ada)
    assert b"has no password" in client.get(PAGE).content


class CodeForm(forms.Form):
    """What a site without passwords asks for."""

    code = forms.CharField()

    def __init__(self, *args: Any, user: User, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_code(self) -> str:
        code = str(self.cleaned_data["code"])
        if code != f"code of {self.user.username}":
            raise forms.ValidationError("No.")
        return code


class AskForCode(ReauthenticateView):
    form_class = CodeForm  # type: ignore[assignment]  # any form with these arguments


urlpatterns = [path("code/", AskForCode.as_view()), *urls.urlpatterns]


def test_a_site_without_passwords_asks_by_a_form_of_its_own(
    client: Client, clock: Clock, settings: Settings
) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MULTISESSION_REAUTHENTICATION_URL = "/code/"
    clock.advance(timedelta(hours=1))
    assert client.post("/code/", {"code": "wrong"}).status_code == 200
    assert client.get("/function/").status_code == 302
    client.post("/code/", {"code": "code of ada"})
    assert client.get("/function/").status_code == 200


def test_of_a_form_that_was_sent_twice_the_second_answer_is_logged_in(
    client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.advance(timedelta(hours=1))
    twin = Client()
    twin.cookies = SimpleCookie(client.cookies.output(header="", sep=";"))
    statuses: list[int] = []
    original = ReauthenticateView.form_valid

    def form_valid(view: Any, form: Any) -> HttpResponse:
        # Its session was read; the other form is sent and answered before it's saved.
        if not statuses:
            statuses.append(0)
            statuses[0] = twin.post(PAGE, RIGHT).status_code
        return original(view, form)

    monkeypatch.setattr(ReauthenticateView, "form_valid", form_valid)
    assert client.post(PAGE, RIGHT).status_code == 302
    assert statuses == [302]
    assert client.get("/function/").content == b"paid"


@pytest.mark.django_db(transaction=True)
def test_the_page_works_under_asgi(client: Client, clock: Clock) -> None:
    asgi = AsyncClient()
    asgi.cookies = client.cookies
    clock.advance(timedelta(hours=1))

    async def visit() -> tuple[int, bytes]:
        asked = await asgi.post(PAGE, {**RIGHT, "next": "/coroutine/"})
        return asked.status_code, (await asgi.get(asked.headers["Location"])).content

    assert asyncio.run(visit()) == (302, b"paid")


def test_where_every_page_needs_a_login_the_page_and_the_time_left_answer(
    client: Client, settings: Settings
) -> None:
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    assert client.post(PAGE, RIGHT).status_code == 302
    assert Client().get(PAGE).headers["Location"].startswith("/login/")
    left = "/account/sessions/time-left/"
    assert client.get(left).json()["logged_in"] is True
    assert Client().get(left).json()["logged_in"] is False
