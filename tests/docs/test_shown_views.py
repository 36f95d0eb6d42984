"""The views that the pages show answer, behind our middleware."""

from __future__ import annotations

import asyncio
import types
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.http import HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

from django_multisession.engines.memory import SessionStore
from tests.clients.sockets import WebSocket
from tests.docs import test_asked_again
from tests.docs.pages import Block, block_of, blocks
from tests.web.people import BACKEND, person

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

ASGI_PAGE = "docs/howto/use-under-asgi.md"
MIDDLEWARE = [
    "django_multisession.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def runs(block: Block) -> bool:
    if block.language != "python":
        return False
    return block.kind == "views" or (block.page, block.file) == (ASGI_PAGE, "consumers.py")


@pytest.fixture
def site(settings: Settings) -> Any:
    """A site without pages yet."""
    urls: Any = types.ModuleType("urls_of_a_page")
    urls.urlpatterns = []
    settings.ROOT_URLCONF = urls
    settings.MIDDLEWARE = MIDDLEWARE
    return urls


def views_of(block: Block) -> dict[str, Any]:
    # A page on something else need not show where its response comes from.
    shown: dict[str, Any] = {"JsonResponse": JsonResponse, "HttpResponse": HttpResponse}
    shown["__name__"] = "views_shown"
    exec(block.text, shown)
    return {
        name: value
        for name, value in shown.items()
        if callable(value) and getattr(value, "__module__", None) == "views_shown"
    }


@pytest.mark.parametrize(
    "block",
    [block for block in blocks(kind="views") if not test_asked_again.runs(block)],
    ids=str,
)
def test_the_views_shown_answer(block: Block, site: Any) -> None:
    views = views_of(block)
    assert views
    site.urlpatterns = [path(f"{name}/", view) for name, view in views.items()]
    if "login_required" in block.text:
        pytest.skip("a test of its own logs in")
    for name in views:
        response = Client().get(f"/{name}/")
        assert response.status_code == 200

        async def answer(name: str = name) -> int:
            return (await AsyncClient().get(f"/{name}/")).status_code

        assert asyncio.run(answer()) == 200


def test_the_view_shown_that_catches_an_outage_answers_in_one(
    site: Any, settings: Settings
) -> None:
    block = next(block for block in blocks(kind="views") if "StoreUnavailable" in block.text)
    site.urlpatterns = [path("", views_of(block)["welcome"])]
    client = Client()
    client.cookies["sessionid"] = login_of_ada()
    settings.SESSION_ENGINE = "django_multisession.engines.redis"
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:9/0"}
    response = client.get("/")
    assert (response.status_code, response.content) == (200, b"Hello, stranger!")
    assert not response.cookies


def test_what_a_stream_saves_is_there_afterwards(site: Any) -> None:
    block = next(block for block in blocks(kind="views") if "StreamingHttpResponse" in block.text)
    site.urlpatterns = [path("", views_of(block)["export"])]

    async def stream() -> str:
        response: Any = await AsyncClient().get("/")
        assert [chunk async for chunk in response] == [b"name\n"]
        key: str = response.cookies["sessionid"].value
        return key

    session = SessionStore(asyncio.run(stream()))
    assert (session["exports"], session["exported"]) == (1, True)


class Socket:
    """The client's end of the consumer that the page shows, opened with a session."""

    def __init__(self, key: str | None) -> None:
        shown: dict[str, Any] = {"__name__": "consumers"}
        exec(block_of(ASGI_PAGE, "consumers.py").text, shown)
        # Channels' middleware would put the session there.
        consumer = shown["Orders"].as_asgi()
        self._session = SessionStore(key)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await consumer({**scope, "session": self._session}, receive, send)

        self._client = WebSocket(application, [])

    async def asks(self) -> dict[str, Any]:
        """Connect, send one message and return what comes back."""
        await self._client.connect()
        answer = await self._client.ask({})
        await self._client.disconnect()
        return answer


def login_of_ada() -> str:
    ada = person("ada")
    session = SessionStore()
    session[SESSION_KEY] = str(ada.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = ada.get_session_auth_hash()
    session.save()
    assert session.session_key is not None
    return session.session_key


@pytest.fixture
def ada(settings: Settings) -> str:
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    return login_of_ada()


def test_the_consumer_shown_answers_who_is_logged_in(ada: str) -> None:
    assert asyncio.run(Socket(ada).asks())["text"] == '{"ok": true}'


def test_the_consumer_shown_closes_on_who_is_not(ada: str) -> None:
    SessionStore(ada).flush()
    for key in (ada, None):
        answer = asyncio.run(Socket(key).asks())
        assert (answer["type"], answer["code"]) == ("websocket.close", 4401)


def test_the_consumer_shown_keeps_its_session_alive(
    ada: str, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 3600
    ada = login_of_ada()
    for _ in range(3):
        clock.advance(seconds=1800)
        assert asyncio.run(Socket(ada).asks())["type"] == "websocket.send"


def test_the_consumer_shown_takes_no_key_from_the_browser_while_the_secret_is_rotated(
    ada: str, settings: Settings
) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50
    for _ in range(2):
        assert asyncio.run(Socket(ada).asks())["type"] == "websocket.send"
    assert SessionStore().exists(ada)


def test_the_shown_page_of_devices_lists_and_ends_them(
    site: Any, settings: Settings, django_user_model: Any, db: None
) -> None:
    shown = views_of(block_of("docs/howto/show-and-end-sessions.md", "views.py"))
    site.urlpatterns = [
        path("devices", shown["devices"]),
        path("end/<session_id>", shown["end_device"]),
        path("end-others", shown["end_other_devices"]),
    ]
    # Users of other tests had the same key, and their sessions are in the memory of this process.
    settings.MULTISESSION_NAMESPACE = uuid.uuid4().hex
    ada = django_user_model.objects.create_user("ada")
    browsers = [Client() for _ in range(3)]
    for browser in browsers:
        browser.force_login(ada)
    listed = browsers[0].get("/devices").json()
    assert sorted(listed.values()) == [False, False, True]
    other = next(each for each, is_current in listed.items() if not is_current)
    assert browsers[0].post(f"/end/{other}").status_code == 200
    assert browsers[0].post(f"/end/{other}").status_code == 404
    assert browsers[0].post("/end-others").json() == {"ended": 1}
    assert list(browsers[0].get("/devices").json().values()) == [True]
    assert [browser.get("/devices").status_code for browser in browsers] == [200, 302, 302]
