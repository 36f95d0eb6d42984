"""Django REST framework with SessionAuthentication."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from tests.clients.conftest import Outage, send_form
from tests.engine_fixtures import Engine
from tests.web.browser import Browser, Reply
from tests.web.conftest import OURS
from tests.web.pages import log_in, log_out, put, read
from tests.web.visits import Visit, page

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def browsable_api(users_in_database: None, settings: Settings) -> None:
    """A site where people use the API in a browser, and one user."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    settings.LOGIN_REDIRECT_URL = "/notes/"
    User.objects.create_user("ada", password="secret")


def take_note(browser: Browser, note: str) -> Reply:
    token = browser.get("/token/").body.decode()
    return browser.post("/notes/", {"note": note}, **{"x-csrftoken": token})


# A call by a script; JSON is asked for, because that is what fetch() sends.
JSON = {"accept": "application/json"}


def test_an_api_knows_who_is_logged_in_at_the_site(browser: Browser, engine: Engine) -> None:
    assert browser.get("/notes/", **JSON).status == 403
    browser.visit(log_in("ada"))
    assert browser.get("/notes/", **JSON).answer == {"user": "ada", "notes": []}
    browser.visit(log_out)
    assert browser.get("/notes/", **JSON).status == 403


def test_an_api_takes_a_write_only_with_a_token(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    assert browser.post("/notes/", {"note": "hello"}, **JSON).status == 403
    assert browser.visit(read).answer == {}
    assert take_note(browser, "hello").status == 201
    assert browser.visit(read).answer == {"notes": ["hello"]}


def test_an_api_takes_a_write_with_a_token_from_the_session(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.CSRF_USE_SESSIONS = True
    browser.visit(log_in("ada"))
    assert browser.post("/notes/", {"note": "hello"}, **JSON).status == 403
    assert take_note(browser, "hello").status == 201
    assert set(browser.cookies) == {"sessionid"}


def test_what_an_api_changes_inside_an_entry_is_saved(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    key = browser.key
    take_note(browser, "tea")
    assert take_note(browser, "milk").answer == ["tea", "milk"]
    assert browser.get("/notes/", **JSON).answer["notes"] == ["tea", "milk"]
    assert browser.key == key


def test_an_api_call_that_only_reads_sets_no_cookie(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    reply = browser.get("/notes/", **JSON)
    assert reply.cookies == {}
    assert reply.varies_by_cookie


def test_a_late_api_call_is_refused_and_leaves_the_new_login_alone(
    browser: Browser, engine: Engine
) -> None:
    browser.visit(log_in("ada"))
    late = browser.copy()
    browser.visit(log_in("ada"))
    reply = late.get("/notes/", **JSON)
    assert reply.status == 403
    assert reply.cookies == {}


def test_an_api_call_that_changes_a_session_which_ends_meanwhile_is_interrupted(
    browser: Browser, engine: Engine
) -> None:
    async def change_meanwhile(visit: Visit) -> None:
        await visit.session.set("notes", ["tea"])
        await browser.copy().visiting(log_out)

    browser.visit(log_in("ada"))
    reply = does(browser, change_meanwhile)
    assert reply.status == 400
    assert reply.cookies == {}


def does(browser: Browser, body: Any) -> Reply:
    with page(body) as name:
        return browser.get(f"/does/{name}/")


# The browsable API


@pytest.mark.usefixtures("browsable_api")
def test_the_browsable_api_logs_in_shows_its_forms_and_logs_out(
    browser: Browser, engine: Engine
) -> None:
    assert browser.get("/notes/", accept="text/html").status == 403
    assert send_form(browser, "/auth/login/", username="ada", password="secret").new_key
    shown = browser.get("/notes/", accept="text/html")
    assert shown.status == 200
    assert b"ada" in shown.body
    assert b"csrfmiddlewaretoken" in shown.body
    fields = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    sent = browser.post("/notes/", {**fields, "note": "hello"}, accept="text/html")
    assert sent.status == 201
    assert b"hello" in browser.get("/notes/", accept="text/html").body
    assert browser.post("/auth/logout/", fields).deletes_the_cookie
    assert browser.get("/notes/", accept="text/html").status == 403


# Outages


@pytest.fixture(params=["", "tests.clients.api.answer_500"], ids=["", "own_handler"])
def exception_handler(request: pytest.FixtureRequest, settings: Settings) -> None:
    if request.param:
        settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": request.param}


def assert_is_outage(reply: Reply, session_middleware: str) -> None:
    if session_middleware == OURS:
        assert reply.status == 503
        assert reply.headers["Retry-After"]
        assert "no-store" in reply.headers["Cache-Control"]
    else:
        assert reply.status == 500
    assert reply.cookies == {}


@pytest.mark.usefixtures("exception_handler")
def test_an_api_that_cannot_know_its_user_answers_503_under_our_middleware(
    browser: Browser, network_engine: Engine, outage: Outage, session_middleware: str
) -> None:
    browser.visit(log_in("ada"))
    with outage():
        assert_is_outage(browser.get("/notes/", **JSON), session_middleware)
    assert browser.get("/notes/", **JSON).answer["user"] == "ada"


@pytest.mark.usefixtures("exception_handler")
def test_an_api_whose_change_cannot_be_saved_answers_503_under_our_middleware(
    browser: Browser,
    network_engine: Engine,
    unreachable: Callable[[], None],
    session_middleware: str,
) -> None:
    async def change_and_lose(visit: Visit) -> None:
        await visit.session.set("notes", ["tea"])
        unreachable()

    browser.visit(log_in("ada"))
    assert_is_outage(does(browser, change_and_lose), session_middleware)


def test_in_anonymous_mode_an_api_refuses_whom_it_does_not_know_and_logs_nobody_out(
    browser: Browser,
    network_engine: Engine,
    outage: Outage,
    settings: Settings,
    session_middleware: str,
) -> None:
    settings.MULTISESSION_ON_OUTAGE = "anonymous"
    browser.visit(log_in("ada"))
    browser.visit(put(notes=["tea"]))
    with outage():
        reply = browser.get("/notes/", **JSON)
        assert reply.status == 403
        assert reply.cookies == {}
        if session_middleware == OURS:
            assert "no-store" in reply.headers["Cache-Control"]
    assert browser.get("/notes/", **JSON).answer == {"user": "ada", "notes": ["tea"]}
