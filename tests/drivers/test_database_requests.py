"""What a rolled-back transaction of a request does to its session, over HTTP."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from django_multisession.database.models import Session
from tests.conftest import Running
from tests.engine_fixtures import DATABASES, Engine, use_engine
from tests.selection import DJANGOS, OURS


def put(request: HttpRequest) -> HttpResponse:
    request.session["city"] = "Rome"
    return HttpResponse()


def show(request: HttpRequest) -> HttpResponse:
    return HttpResponse(repr(sorted(request.session.items())))


def roll_back(request: HttpRequest, what: str) -> HttpResponse:
    """Do *what* in the transaction of the view, which is rolled back."""
    session = request.session
    if what == "save":
        session["city"] = "Oslo"
        session.save()
    if what.startswith("login"):
        session.cycle_key()
        session[SESSION_KEY], session[BACKEND_SESSION_KEY], session[HASH_SESSION_KEY] = "7", "", ""
    if what == "login-and-save":
        session.save()
    if what.startswith("flush"):
        session.flush()
    if what == "flush-and-set":
        session["city"] = "Bern"
    if what == "flush-and-raise":
        raise ZeroDivisionError
    transaction.set_rollback(True, using=request.META["ALIAS"])
    return HttpResponse()


urlpatterns = [path("put", put), path("show", show), path("<what>", roll_back)]


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, settings: Any, running_servers: Running) -> Engine:
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(params=[DJANGOS, OURS], ids=["django", "ours"])
def client(
    request: pytest.FixtureRequest,
    engine: Engine,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Client:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [request.param]
    monkeypatch.setitem(connections.settings[engine.name], "ATOMIC_REQUESTS", True)
    visitor = Client(raise_request_exception=False, ALIAS=engine.name)
    visitor.get("/put")
    return visitor


def shown(client: Client, cookie: str | None = None) -> str:
    """Return what a request with *cookie*, or with the client's own, finds in its session."""
    visitor = Client()
    visitor.cookies["sessionid"] = cookie or client.cookies["sessionid"].value
    return visitor.get("/show").content.decode()


def test_a_save_that_was_rolled_back_is_undone(client: Client) -> None:
    assert client.get("/save").status_code == 200
    assert shown(client) == "[('city', 'Rome')]"


def test_a_login_is_stored_by_the_response(client: Client, engine: Engine) -> None:
    old = client.cookies["sessionid"].value
    assert client.get("/login").status_code == 200
    assert ("_auth_user_id", "7") in ast.literal_eval(shown(client))
    assert shown(client, old) == "[]"


def test_a_login_that_was_saved_and_rolled_back_has_the_key_of_its_response(
    client: Client,
) -> None:
    old = client.cookies["sessionid"].value
    assert client.get("/login-and-save").status_code == 200
    assert ("_auth_user_id", "7") in ast.literal_eval(shown(client))
    assert shown(client, old) == "[]"


def test_a_new_session_that_was_saved_and_rolled_back_is_undone(
    client: Client, engine: Engine
) -> None:
    visitor = Client(ALIAS=engine.name)
    assert visitor.get("/login-and-save").status_code == 200
    assert shown(visitor) == "[]"


@pytest.mark.parametrize("what", ["flush", "flush-and-raise"])
def test_a_logout_holds(client: Client, what: str) -> None:
    old = client.cookies["sessionid"].value
    client.get(f"/{what}")
    assert shown(client, old) == "[]"


def test_a_session_that_begins_after_a_rolled_back_logout_is_stored(
    client: Client, engine: Engine
) -> None:
    old = client.cookies["sessionid"].value
    assert client.get("/flush-and-set").status_code == 200
    assert shown(client, old) == "[]"
    assert shown(client) == "[('city', 'Bern')]"
    assert Session.objects.using(engine.name).count() == 2
