"""The settings that the guide shows move a site from Django's engine, and back."""

from __future__ import annotations

import types
import uuid
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, logout
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path

from tests.docs.pages import Block, blocks_of
from tests.docs.test_shown_settings import STARTED, execute
from tests.web.people import BACKEND, person

if TYPE_CHECKING:
    from pytest_django import Settings

PAGE = "docs/howto/move-from-django.md"
DJANGOS, OURS = "django.contrib.sessions", "django_multisession"

pytestmark = pytest.mark.django_db


def show(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username(), "cart": request.session.get("cart")})


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


@pytest.fixture(autouse=True)
def old_site(settings: Settings) -> None:
    urls: Any = types.ModuleType("urls_of_a_site_that_moves")
    urls.urlpatterns = [path(f"{view.__name__}/", view) for view in (show, leave)]
    settings.ROOT_URLCONF = urls
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    settings.MIDDLEWARE = STARTED["MIDDLEWARE"]
    settings.SESSION_ENGINE = f"{DJANGOS}.backends.db"
    # All of ada's sessions may have been ended before, in the memory that this process shares.
    settings.MULTISESSION_NAMESPACE = uuid.uuid4().hex


def diff() -> Block:
    (shown,) = (block for block in blocks_of(PAGE) if block.language == "diff")
    return shown


def deploy(settings: Settings, after: dict[str, Any]) -> None:
    """Deploy what the page shows, with an engine in this process for that on Redis."""
    memory = f"{OURS}.engines.memory"
    for name, value in after.items():
        if name not in {"INSTALLED_APPS", "MULTISESSION_REDIS"}:
            setattr(settings, name, memory if value == f"{OURS}.engines.redis" else value)


def stored(**entries: Any) -> str:
    """Store ada's session, with a cart, in Django's table, and return its key."""
    ada = person("ada")
    session = import_module(f"{DJANGOS}.backends.db").SessionStore()
    session.update(
        {
            SESSION_KEY: str(ada.pk),
            BACKEND_SESSION_KEY: BACKEND,
            HASH_SESSION_KEY: ada.get_session_auth_hash(),
            "cart": ["tea"],
            **entries,
        }
    )
    session.save()
    return str(session.session_key)


class Visitor(Client):
    """Meets what is deployed at each request."""

    def request(self, **request: Any) -> Any:
        # A handler takes MIDDLEWARE and SESSION_ENGINE once.
        handler: Any = self.handler
        handler._middleware_chain = None
        return super().request(**request)


def client(key: str) -> Visitor:
    visitor = Visitor(raise_request_exception=False)
    visitor.cookies["sessionid"] = key
    return visitor


ADA = {"user": "ada", "cart": ["tea"]}
NOBODY = {"user": "", "cart": None}


def test_the_settings_shown_move_a_login_and_a_cart(settings: Settings) -> None:
    visitor = client(stored())
    assert visitor.get("/show/").json() == ADA
    deploy(settings, execute(diff(), STARTED))
    reply = visitor.get("/show/")
    assert reply.json() == ADA
    assert len(reply.cookies["sessionid"].value) == 40
    assert Session.objects.count() == 0
    assert visitor.get("/show/").json() == ADA


def test_a_logout_is_not_undone_by_the_old_cookie(settings: Settings) -> None:
    key = stored()
    visitor = client(key)
    deploy(settings, execute(diff(), STARTED))
    visitor.get("/leave/")
    assert client(key).get("/show/").json() == NOBODY
    assert visitor.get("/show/").json() == NOBODY


def test_the_settings_shown_take_a_site_back(settings: Settings) -> None:
    visitor = client(stored())
    after = execute(diff(), STARTED)
    deploy(settings, after)
    assert visitor.get("/show/").json() == ADA
    (back,) = [
        block
        for block in blocks_of(PAGE)
        if block.text.startswith(f'SESSION_ENGINE = "{DJANGOS}.backends.db"')
    ]
    deploy(settings, execute(back, after))
    reply = visitor.get("/show/")
    assert reply.json() == ADA
    assert len(reply.cookies["sessionid"].value) == 32
    assert Session.objects.count() == 1


def test_the_readme_shows_the_line() -> None:
    line = 'MULTISESSION_MIGRATE_FROM = "django.contrib.sessions.backends.db"'
    assert f"+{line}" in diff().text
    assert any(line in block.text for block in blocks_of("README.md"))


def test_an_old_process_removes_a_new_cookie(settings: Settings) -> None:
    visitor = client(stored())
    deploy(settings, execute(diff(), STARTED))
    visitor.get("/show/")
    settings.SESSION_ENGINE = f"{DJANGOS}.backends.db"
    del settings.MULTISESSION_MIGRATE_FROM
    assert visitor.get("/show/").cookies["sessionid"]["max-age"] == 0
