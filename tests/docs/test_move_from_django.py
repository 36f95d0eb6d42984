"""A site moves from Django's engine: side by side, back again, and with its sessions carried over."""

from __future__ import annotations

import asyncio
import sys
import types
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, logout
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path
from servers import free_port

from tests.docs.pages import Block, block_of, blocks_of
from tests.docs.test_shown_settings import STARTED, execute
from tests.web.people import BACKEND, person

if TYPE_CHECKING:
    from pytest_django import Settings

PAGE = "docs/howto/move-from-django.md"
MODULE = "mysite/carry_over.py"
OLD, NEW = "sessionid", "__Host-sessionid"
DJANGOS, OURS = "django.contrib.sessions", "django_multisession"

pytestmark = pytest.mark.django_db


def runs(block: Block) -> bool:
    return (block.page, block.file) == (PAGE, MODULE)


def show(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username(), "cart": request.session.get("cart")})


def fail(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=500)


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


@pytest.fixture(autouse=True)
def old_site(settings: Settings) -> None:
    urls = types.ModuleType("urls_of_a_site_that_moves")
    urls.urlpatterns = [path(f"{view.__name__}/", view) for view in (show, fail, leave)]  # type: ignore[attr-defined]  # a module made here
    settings.ROOT_URLCONF = urls
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    settings.MIDDLEWARE = STARTED["MIDDLEWARE"]
    settings.SESSION_ENGINE = f"{DJANGOS}.backends.db"


def move(settings: Settings, **instead: Any) -> None:
    """Deploy what the page shows, in memory."""
    (shown,) = (block for block in blocks_of(PAGE) if block.language == "diff")
    after = execute(shown, STARTED)
    for name, value in {**after, "SESSION_ENGINE": f"{OURS}.engines.memory", **instead}.items():
        if name != "INSTALLED_APPS":
            setattr(settings, name, value)


@pytest.fixture(params=[OURS, DJANGOS], ids=["ours", "djangos"])
def carry_over(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> types.ModuleType:
    """The site after the deployment with the middleware; what is called, deploys it."""
    module = types.ModuleType("mysite.carry_over")
    exec(block_of(PAGE, MODULE).text, module.__dict__)
    monkeypatch.setitem(sys.modules, "mysite", types.ModuleType("mysite"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    inserting = blocks_of(PAGE)[-1]
    assert "MIDDLEWARE.insert" in inserting.text
    move(settings)
    settings.MIDDLEWARE = execute(inserting, {"MIDDLEWARE": settings.MIDDLEWARE})["MIDDLEWARE"]
    # What the page says of the middleware's place holds for either session middleware.
    settings.MIDDLEWARE = [
        name.replace(OURS, request.param) if name.endswith(".SessionMiddleware") else name
        for name in settings.MIDDLEWARE
    ]
    return module


def stored(engine: str = f"{DJANGOS}.backends.db", **entries: Any) -> Any:
    """Return a session that *engine* stores: ada's, with a cart."""
    ada = person("ada")
    session = import_module(engine).SessionStore()
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
    return session


class Visitor(Client):
    """Meets what is deployed at each request."""

    def request(self, **request: Any) -> Any:
        # A handler takes MIDDLEWARE and SESSION_ENGINE once.
        handler: Any = self.handler
        handler._middleware_chain = None
        return super().request(**request)


def client(**cookies: str) -> Visitor:
    visitor = Visitor(raise_request_exception=False)
    # HTTPS, or the browser would not have the cookie.
    visitor.defaults["wsgi.url_scheme"] = "https"
    for name, value in cookies.items():
        visitor.cookies[name] = value
    return visitor


ADA = {"user": "ada", "cart": ["tea"]}
NOBODY = {"user": "", "cart": None}


def test_side_by_side_neither_touches_the_others_cookie(settings: Settings) -> None:
    old = stored()
    visitor = client(sessionid=old.session_key)
    assert visitor.get("/show/").json() == ADA
    move(settings)
    reply = visitor.get("/show/")
    assert reply.json() == NOBODY
    assert not reply.cookies
    visitor.cookies[NEW] = stored(settings.SESSION_ENGINE).session_key
    reply = visitor.get("/show/")
    assert reply.json() == ADA
    assert OLD not in reply.cookies


def test_the_way_back_finds_everybody_logged_in_as_before(settings: Settings) -> None:
    visitor = client(sessionid=stored().session_key)
    move(settings)
    visitor.get("/leave/")
    settings.SESSION_ENGINE = f"{DJANGOS}.backends.db"
    settings.SESSION_COOKIE_NAME = OLD
    assert visitor.get("/show/").json() == ADA


def test_with_one_name_each_removes_the_others_cookie(settings: Settings) -> None:
    visitor = client(sessionid=stored().session_key)
    move(settings, SESSION_COOKIE_NAME=OLD)
    assert visitor.get("/show/").cookies[OLD]["max-age"] == 0
    visitor.cookies[OLD] = stored(settings.SESSION_ENGINE).session_key
    settings.SESSION_ENGINE = f"{DJANGOS}.backends.db"
    assert visitor.get("/show/").cookies[OLD]["max-age"] == 0


def test_a_login_and_a_cart_are_carried_over(carry_over: types.ModuleType) -> None:
    visitor = client(sessionid=stored().session_key)
    reply = visitor.get("/show/")
    assert reply.json() == ADA
    assert reply.cookies[OLD]["max-age"] == 0
    assert len(reply.cookies[NEW].value) == 40
    assert Session.objects.count() == 0
    assert visitor.get("/show/").json() == ADA


def test_one_name_for_both_cookies_stops_the_site(
    carry_over: types.ModuleType, settings: Settings
) -> None:
    settings.SESSION_COOKIE_NAME = OLD
    with pytest.raises(ImproperlyConfigured, match="SESSION_COOKIE_NAME"):
        client().get("/show/")


def test_a_login_is_carried_over_under_asgi(
    carry_over: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The database of a test is locked to other threads.
    monkeypatch.setattr(carry_over, "OLD_ENGINE", f"{DJANGOS}.backends.cache")
    old = stored(f"{DJANGOS}.backends.cache")

    async def visit() -> Any:
        visitor = AsyncClient()
        visitor.cookies[OLD] = old.session_key
        return await visitor.get("/show/", secure=True)

    reply = asyncio.run(visit())
    assert reply.json() == ADA
    assert len(reply.cookies[NEW].value) == 40


def test_a_logout_is_not_undone_by_the_old_cookie(carry_over: types.ModuleType) -> None:
    old = stored()
    visitor = client(sessionid=old.session_key)
    visitor.get("/leave/")
    assert client(sessionid=old.session_key).get("/show/").json() == NOBODY
    assert visitor.get("/show/").json() == NOBODY


def test_a_page_that_fails_leaves_the_old_session_for_the_next(
    carry_over: types.ModuleType,
) -> None:
    visitor = client(sessionid=stored().session_key)
    reply = visitor.get("/fail/")
    assert reply.status_code == 500
    assert not reply.cookies
    assert visitor.get("/show/").json() == ADA


def test_whose_session_cannot_be_carried_over_logs_in_again(
    carry_over: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = f"{DJANGOS}.backends.cache"
    monkeypatch.setattr(carry_over, "OLD_ENGINE", engine)
    old = stored(engine, since=datetime(2026, 1, 1, tzinfo=UTC))
    reply = client(sessionid=old.session_key).get("/show/")
    assert (reply.status_code, reply.json()) == (200, NOBODY)
    assert reply.cookies[OLD]["max-age"] == 0


@pytest.mark.parametrize("engine", ["cache", "cached_db", "signed_cookies"])
def test_the_sessions_of_djangos_other_engines_are_carried_over(
    carry_over: types.ModuleType, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(carry_over, "OLD_ENGINE", f"{DJANGOS}.backends.{engine}")
    visitor = client(sessionid=stored(f"{DJANGOS}.backends.{engine}").session_key)
    assert visitor.get("/show/").json() == ADA
    assert visitor.get("/show/").json() == ADA


def test_who_has_a_new_session_keeps_it(carry_over: types.ModuleType, settings: Settings) -> None:
    old, new = stored(), stored(settings.SESSION_ENGINE, cart=["milk"])
    visitor = client(**{OLD: old.session_key, NEW: new.session_key})
    assert visitor.get("/show/").json() == {"user": "ada", "cart": ["milk"]}
    assert Session.objects.count() == 1


def test_an_unknown_old_cookie_makes_no_session(carry_over: types.ModuleType) -> None:
    reply = client(sessionid="a" * 32).get("/show/")
    assert reply.json() == NOBODY
    assert NEW not in reply.cookies


def test_an_outage_loses_no_old_session(carry_over: types.ModuleType, settings: Settings) -> None:
    visitor = client(sessionid=stored().session_key)
    settings.SESSION_ENGINE = f"{OURS}.engines.redis"
    settings.MULTISESSION_REDIS = {"URL": f"redis://127.0.0.1:{free_port()}/0"}
    reply = visitor.get("/show/")
    assert reply.status_code >= 500
    assert not reply.cookies
    settings.SESSION_ENGINE = f"{OURS}.engines.memory"
    assert visitor.get("/show/").json() == ADA
