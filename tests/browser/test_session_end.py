"""The warning before a session ends. The test drives the clocks of the server and of the browser."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.views import LoginView, LogoutView
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path
from django.views.static import serve
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Route, expect

import django_multisession
from django_multisession.engines.memory import SessionStore
from tests.engine_fixtures import use_engine
from tests.web.people import BACKEND, person

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

STATIC = Path(django_multisession.__file__).parent / "static"
IDLE, ABSOLUTE, WARN = 1800, 7200, 120
NOON = "2026-01-01T12:00:00Z"
TIME_LEFT = "/account/sessions/time-left/"
PAGE = """<!doctype html><html lang="en"><title>Page</title>
<link rel="icon" href="data:,">{% load multisession %}
<h1>{{ request.user }}</h1><input aria-label="Field">
<form method="post" action="/logout/">{% csrf_token %}<button>Log out</button></form>
{% session_end_warning %}"""


def show(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html")


urlpatterns = [
    path("", show),
    path("login/", LoginView.as_view(template_name="page.html")),
    path("logout/", LogoutView.as_view(next_page="/login/")),
    path("account/sessions/", include("django_multisession.user_sessions.urls")),
    path("static/<path:path>", serve, {"document_root": STATIC}),
]


def strict(get_response: Any) -> Any:
    """Forbid inline code and everything from elsewhere."""

    def respond(request: HttpRequest) -> Any:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:"
        return response

    return respond


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Write nothing."""


@pytest.fixture
def idle() -> int:
    """Return the idle timeout."""
    return IDLE


@pytest.fixture
def site(
    settings: Settings,
    running_servers: Running,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    idle: int,
) -> Iterator[str]:
    """A site in this process, whose clock the test drives, and without a database."""
    # Playwright has an event loop in this thread.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    use_engine("memory", settings, running_servers)
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_URL = "/login/"
    settings.STATIC_URL = "/static/"
    settings.MULTISESSION_IDLE_TIMEOUT = idle
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = ABSOLUTE
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    ("django.template.loaders.locmem.Loader", {"page.html": PAGE}),
                    "django.template.loaders.app_directories.Loader",
                ],
                "context_processors": ["django.template.context_processors.request"],
            },
        }
    ]
    settings.MIDDLEWARE = [
        "tests.browser.test_session_end.strict",
        "django_multisession.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    server = ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler)
    server.set_app(WSGIHandler())
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with contextlib.closing(server.socket):
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclasses.dataclass
class Tabs:
    """The browser of a user who is logged in, its time and what it asked the server."""

    context: BrowserContext
    url: str
    clock: Clock
    asked: list[str]
    complaints: list[str]

    def open(self) -> Page:
        page = self.context.new_page()
        page.goto(self.url)
        return page

    def wait(self, seconds: int) -> None:
        """Let time pass here and at the server."""
        self.clock.advance(seconds=seconds)
        self.context.clock.fast_forward(seconds * 1000)


@pytest.fixture
def tabs(chromium: Browser, site: str, clock: Clock) -> Iterator[Tabs]:
    ada, session = person("ada"), SessionStore()
    session[SESSION_KEY] = str(ada.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = ada.get_session_auth_hash()
    session.save()
    context = chromium.new_context()
    cookie: Any = {"name": "sessionid", "value": session.session_key, "url": site}
    context.add_cookies([cookie])
    context.clock.install(time="2026-01-01T06:00:00Z")
    context.clock.pause_at(NOON)
    tabs = Tabs(context, site, clock, [], [])

    def note(request: Request) -> None:
        if request.url.endswith(TIME_LEFT):
            tabs.asked.append(request.method)
            is_question = request.headers.get("x-session-poll") == "1"
            if is_question is not (request.method == "GET"):
                tabs.complaints.append(f"X-Session-Poll of {request.method}: {is_question}")

    context.on("request", note)
    context.on("weberror", lambda error: tabs.complaints.append(str(error.error)))
    context.on(
        "console",
        lambda message: tabs.complaints.append(message.text) if message.type == "error" else None,
    )
    yield tabs
    context.close()
    assert [each for each in tabs.complaints if "Failed to load resource" not in each] == []


def warning(page: Page) -> Locator:
    return page.get_by_role("alertdialog")


def test_it_asks_nothing_until_the_warning_is_due_and_people_stay_by_one_button(
    tabs: Tabs,
) -> None:
    page = tabs.open()
    page.get_by_label("Field").focus()
    tabs.wait(IDLE - WARN - 1)
    assert tabs.asked == []
    expect(warning(page)).to_have_count(0)
    tabs.wait(1)
    expect(warning(page)).to_be_visible()
    assert tabs.asked == ["GET"]
    expect(warning(page)).to_have_accessible_name("Are you still there?")
    expect(warning(page)).to_have_accessible_description("You are logged out in 2:00.")
    expect(warning(page).get_by_role("button")).to_be_focused()
    tabs.wait(60)
    expect(warning(page).get_by_role("timer")).to_have_text("1:00")

    page.keyboard.press("Enter")
    expect(warning(page)).to_be_hidden()
    expect(page.get_by_label("Field")).to_be_focused()
    assert tabs.asked == ["GET", "POST"]
    tabs.wait(IDLE - WARN - 1)
    assert tabs.asked == ["GET", "POST"]
    page.reload()
    expect(page.get_by_role("heading")).to_have_text("ada")


@pytest.mark.long
def test_escape_says_that_someone_is_there(tabs: Tabs) -> None:
    page = tabs.open()
    tabs.wait(IDLE - WARN)
    expect(warning(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(warning(page)).to_be_hidden()
    assert tabs.asked == ["GET", "POST"]


def test_at_the_end_it_goes_to_the_login_page_and_back(tabs: Tabs) -> None:
    page = tabs.context.new_page()
    page.goto(f"{tabs.url}/?a=1")
    tabs.wait(IDLE - WARN)
    expect(warning(page)).to_be_visible()
    tabs.wait(WARN + 1)
    page.wait_for_url(f"{tabs.url}/login/?next=%2F%3Fa%3D1")


@pytest.mark.long
def test_content_of_the_page_does_not_pass_for_the_script(tabs: Tabs) -> None:
    image = '<img name="currentScript" alt="" data-url="/elsewhere/" data-idle="" data-absolute="">'

    def insert(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace("<h1>", f"{image}<h1>"))

    page = tabs.context.new_page()
    page.route(f"{tabs.url}/", insert)
    page.goto(tabs.url)
    assert page.evaluate("document.currentScript.tagName") == "IMG"
    tabs.wait(IDLE - WARN)
    expect(warning(page)).to_be_visible()


def test_the_login_page_is_an_address_and_no_script(tabs: Tabs, settings: Settings) -> None:
    settings.LOGIN_URL = "javascript:document.title='run'//"
    page = tabs.open()
    # The policy of the page refuses such an address, which is a complaint.
    with page.expect_response(f"**{TIME_LEFT}"):
        tabs.wait(IDLE + 1)
    page.wait_for_timeout(300)
    assert page.title() == "Page"


def test_who_stays_in_one_tab_closes_the_warning_in_the_others(tabs: Tabs) -> None:
    one, two = tabs.open(), tabs.open()
    tabs.wait(IDLE - WARN)
    tabs.wait(5)
    for page in (one, two):
        expect(warning(page)).to_be_visible()
    warning(two).get_by_role("button").click()
    for page in (one, two):
        expect(warning(page)).to_be_hidden()
    assert tabs.asked.count("POST") == 1
    tabs.wait(IDLE - WARN - 10)
    expect(warning(one)).to_be_hidden()


@pytest.mark.long
def test_a_page_in_another_tab_is_use_and_no_tab_asks(tabs: Tabs) -> None:
    one = tabs.open()
    tabs.wait(IDLE - WARN - 60)
    tabs.open()
    tabs.wait(120)
    expect(warning(one)).to_have_count(0)
    assert tabs.asked == []


def test_a_logout_in_one_tab_sends_the_others_to_the_login_page(tabs: Tabs) -> None:
    one, two = tabs.open(), tabs.open()
    two.get_by_role("button", name="Log out").click()
    two.wait_for_url(f"{tabs.url}/login/")
    one.wait_for_url(f"{tabs.url}/login/?next=%2F")


@pytest.mark.long
def test_a_page_without_a_user_that_the_browser_kept_sends_no_one_away(tabs: Tabs) -> None:
    one = tabs.open()
    with one.expect_response(f"**{TIME_LEFT}"):
        one.evaluate(
            f"new BroadcastChannel('multisession:' + location.origin + '{TIME_LEFT}')"
            ".postMessage({over: true})"
        )
    tabs.wait(60)
    assert one.url == f"{tabs.url}/"


def ask_again(tabs: Tabs, page: Page) -> None:
    """Let minutes pass until the page asks: on a busy machine it may wait for an answer meanwhile."""
    asked = len(tabs.asked)
    while len(tabs.asked) == asked:
        page.context.clock.fast_forward(60_000)
        page.wait_for_timeout(100)


def test_an_outage_logs_no_one_out(tabs: Tabs) -> None:
    page = tabs.open()
    tabs.wait(IDLE - WARN)
    expect(warning(page)).to_be_visible()

    def fail(route: Route) -> None:
        route.fulfill(status=503, body="busy") if len(tabs.asked) % 2 else route.abort()

    page.route(f"**{TIME_LEFT}", fail)
    page.keyboard.press("Enter")
    expect(warning(page).get_by_role("status")).to_contain_text("Trying again")
    page.context.clock.fast_forward(WARN * 1000)
    ask_again(tabs, page)
    ask_again(tabs, page)
    assert page.url == f"{tabs.url}/"
    page.unroute(f"**{TIME_LEFT}")
    # The server's clock has not moved: the session is there, and the wish to stay is carried out.
    ask_again(tabs, page)
    expect(warning(page)).to_be_hidden()
    assert tabs.asked[-1] == "POST"


@pytest.mark.long
def test_a_machine_that_slept_through_the_end_goes_to_the_login_page(tabs: Tabs) -> None:
    page = tabs.open()
    tabs.clock.advance(seconds=IDLE + 3600)
    # Its timers stood still.
    page.clock.set_system_time("2026-01-01T13:30:00Z")
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.wait_for_url(f"{tabs.url}/login/?next=%2F")


@pytest.mark.parametrize("idle", [ABSOLUTE])
def test_the_absolute_end_is_announced_and_cannot_be_put_off(tabs: Tabs) -> None:
    page = tabs.open()
    tabs.wait(10)
    page.reload()
    tabs.wait(ABSOLUTE - WARN - 10)
    expect(warning(page)).to_have_accessible_name("You are logged out soon")
    page.keyboard.press("Enter")
    expect(warning(page)).to_be_hidden()
    assert "POST" not in tabs.asked
    tabs.wait(WARN + 1)
    page.wait_for_url(f"{tabs.url}/login/?next=%2F")


@pytest.mark.long
def test_a_login_in_another_tab_changes_the_token_and_people_stay_all_the_same(tabs: Tabs) -> None:
    page = tabs.open()
    tabs.wait(IDLE - WARN)
    expect(warning(page)).to_be_visible()
    other: Any = {"name": "csrftoken", "value": "a" * 32, "url": tabs.url}
    tabs.context.add_cookies([other])
    page.keyboard.press("Enter")
    expect(warning(page)).to_be_hidden()
    assert tabs.asked == ["GET", "POST", "GET", "POST"]


@pytest.mark.long
def test_the_warning_moves_nothing_and_fits_a_small_screen(tabs: Tabs) -> None:
    page = tabs.open()
    page.set_viewport_size({"width": 320, "height": 480})
    tabs.wait(IDLE - WARN)
    expect(warning(page)).to_be_visible()
    box = warning(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    style = (
        "node => [getComputedStyle(node).animationName, getComputedStyle(node).transitionDuration]"
    )
    assert warning(page).evaluate(style) == ["none", "0s"]


@pytest.mark.long
def test_a_page_that_the_browser_kept_asks_what_is_left(tabs: Tabs, chromium: Browser) -> None:
    # Under a driven clock, no page can tell how it was come to.
    with chromium.new_context() as context:
        kept: Any = tabs.context.cookies()
        context.add_cookies(kept)
        page = context.new_page()
        page.goto(tabs.url)
        page.goto(f"{tabs.url}/static/django_multisession/session-end.css")
        with page.expect_response(f"**{TIME_LEFT}"):
            page.go_back()
        expect(page.get_by_role("heading")).to_have_text("ada")
