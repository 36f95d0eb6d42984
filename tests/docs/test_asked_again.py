"""The pages on users who are asked again: what they show works on a site with a login."""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client
from django.urls import path

from tests.asked.conftest import PASSWORD, TEMPLATES
from tests.docs.pages import Block, block_of, blocks_of
from tests.engine_fixtures import use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

ASK_AGAIN = "docs/howto/ask-again.md"
WARN = "docs/howto/warn-before-the-end.md"
REMEMBER_ME = "docs/howto/remember-me.md"
ASKED = "/account/sessions/reauthenticate/"


def runs(block: Block) -> bool:
    if block.page == WARN:
        return block.file in {"urls.py", "templates/base.html"}
    if block.page == REMEMBER_ME:
        return block.file in {"login_urls.py", "accounts/forms.py"}
    return block.page == ASK_AGAIN and block.file in {"urls.py", "views.py", "api.py"}


@pytest.fixture
def urls(db: None, settings: Settings, running_servers: Running, clock: Clock) -> types.ModuleType:
    """The URLs that the page shows; a test adds views."""
    use_engine("memory", settings, running_servers)
    found = types.ModuleType("urls_of_a_page")
    exec(block_of(ASK_AGAIN, "urls.py").text, vars(found))
    settings.ROOT_URLCONF = found
    settings.TEMPLATES = TEMPLATES
    settings.STATIC_URL = "/static/"
    settings.MIDDLEWARE = [
        "django_multisession.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    return found


@pytest.fixture
def client(urls: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("ada", password=PASSWORD))
    return client


def shown(name: str, file: str = "views.py") -> Any:
    """Return what the page defines as *name*."""
    for block in (*blocks_of(ASK_AGAIN), *blocks_of(REMEMBER_ME)):
        if block.file == file and name in block.text:
            module: dict[str, Any] = {"__name__": "shown"}
            exec(block.text, module)
            return module[name]
    raise LookupError(name)


def test_the_function_shown_is_guarded(client: Client, urls: Any, clock: Clock) -> None:
    urls.urlpatterns += [path("shown/", shown("delete_account"))]
    assert client.get("/shown/").content == b"Are you sure?"
    clock.advance(timedelta(minutes=5))
    assert client.get("/shown/").headers["Location"] == f"{ASKED}?next=/shown/"
    assert client.post(ASKED, {"password": PASSWORD, "next": "/shown/"}).status_code == 302
    assert client.get("/shown/").status_code == 200


def test_the_class_shown_is_guarded(client: Client, urls: Any, clock: Clock) -> None:
    urls.urlpatterns += [path("shown/", shown("CardNumbers").as_view())]
    assert client.get("/shown/").status_code == 200
    clock.advance(timedelta(minutes=2))
    assert client.get("/shown/").headers["Location"] == f"{ASKED}?next=/shown/"


def test_the_api_shown_is_guarded(client: Client, urls: Any, clock: Clock) -> None:
    urls.urlpatterns += [path("shown/", shown("Export", "api.py").as_view())]
    headers = {"accept": "application/json"}
    assert client.get("/shown/", headers=headers).json() == {}
    clock.advance(timedelta(minutes=1))
    refused = client.get("/shown/", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")


class Device:
    def verify(self, code: str) -> bool:
        return code == "123456"


def test_the_form_shown_takes_the_place_of_the_password(
    client: Client,
    urls: Any,
    clock: Clock,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(User, "email_device", Device(), raising=False)
    settings.MULTISESSION_REAUTHENTICATION_URL = "ask-for-code"
    urls.urlpatterns += [
        path("code/", shown("AskForCode").as_view(), name="ask-for-code"),
        path("shown/", shown("delete_account")),
    ]
    clock.advance(timedelta(hours=1))
    asked = client.get("/shown/").headers["Location"]
    assert asked == "/code/?next=/shown/"
    assert b"This code is wrong." in client.post(asked, {"code": "1"}).content
    assert client.post(asked, {"code": "123456"}).headers["Location"] == "/shown/"
    assert client.get("/shown/").status_code == 200


def log_in_again(request: HttpRequest) -> None:
    login(request, User.objects.get(), backend=settings.AUTHENTICATION_BACKENDS[0])


def copy_entries(request: HttpRequest) -> None:
    entries = dict(request.session.items())
    request.session.flush()
    request.session.update(entries)


def change_the_key(request: HttpRequest) -> None:
    request.session.cycle_key()


@pytest.mark.parametrize(
    ("act", "counts"), [(log_in_again, True), (copy_entries, True), (change_the_key, False)]
)
def test_what_the_page_says_counts_without_a_proof_does(
    client: Client,
    urls: Any,
    clock: Clock,
    act: Callable[[HttpRequest], None],
    *,
    counts: bool,
) -> None:
    def carry_out(request: HttpRequest) -> HttpResponse:
        act(request)
        return HttpResponse()

    urls.urlpatterns += [path("act/", carry_out), path("shown/", shown("delete_account"))]
    clock.advance(timedelta(hours=1))
    client.get("/act/")
    assert client.get("/shown/").status_code == (200 if counts else 302)


def test_the_login_shown_has_a_box(client: Client, urls: Any) -> None:
    urls.urlpatterns += shown("urlpatterns", "login_urls.py")
    sent = {"username": "ada", "password": PASSWORD, "remember_me": "on"}
    response = Client().post("/login/", sent)
    assert response.cookies["sessionid"]["max-age"] == timedelta(days=30).total_seconds()


def test_the_form_shown_remembers_for_a_week(client: Client, urls: Any) -> None:
    form = shown("LoginForm", "accounts/forms.py")
    urls.urlpatterns += [path("login/", LoginView.as_view(authentication_form=form))]
    sent = {"username": "ada", "password": PASSWORD, "remember_me": "on"}
    response = Client().post("/login/", sent)
    assert response.cookies["sessionid"]["max-age"] == timedelta(days=7).total_seconds()


def test_the_template_shown_loads_the_script(client: Client, urls: Any) -> None:
    assert block_of(WARN, "urls.py").text == block_of(ASK_AGAIN, "urls.py").text
    template = engines["django"].from_string(block_of(WARN, "templates/base.html").text)
    urls.urlpatterns += [path("shown/", lambda request: HttpResponse(template.render({}, request)))]
    page = client.get("/shown/").content.decode()
    assert 'data-url="/account/sessions/time-left/"' in page
    assert 'data-warn-before="120"' in page
