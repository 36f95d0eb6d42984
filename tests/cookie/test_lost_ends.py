"""An answer about an end that is lost leaves a session ended or live, and in no other state."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core.signals import request_finished

from django_multisession.engines.cookie import SessionStore
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from tests.cookie import ends
from tests.cookie.visits import Browser
from tests.docs.pages import ROOT
from tests.engine_fixtures import REVOCABLE, use_cookies

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

USER_ID = "_auth_user_id"

#: At the end of a request Django looks at the connections of its thread.
pytestmark = pytest.mark.django_db


@pytest.fixture
def lossy(settings: Settings, running_servers: Running) -> Iterator[ends.LossyDriver]:
    """Keep ends by way of `ends`."""
    use_cookies(REVOCABLE, settings, running_servers)
    settings.MULTISESSION_COOKIE = {"REVOCATION": ends.__name__}
    ends.driver.losses.clear()
    yield ends.driver
    ends.driver.losses.clear()


@pytest.fixture(params=[ends.CARRIED_OUT, ends.NOT_SENT])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def begun() -> str:
    session = SessionStore()
    session["cart"] = 1
    session.save()
    return session.session_key or ""


def entries(cookie: str | None) -> dict[str, Any]:
    # What one request knows of its sessions, the next doesn't.
    request_finished.send(sender=None)
    return dict(SessionStore(cookie).load())


def test_a_logout_without_an_answer_fails_and_can_be_made_again(
    lossy: ends.LossyDriver, how: str
) -> None:
    cookie = begun()
    session = SessionStore(cookie)
    session.load()
    lossy.lose("add", how)
    with pytest.raises(StoreUnavailable):
        session.flush()
    assert entries(cookie) == ({} if how == ends.CARRIED_OUT else {"cart": 1})
    SessionStore(cookie).flush()
    assert entries(cookie) == {}


@pytest.mark.parametrize("error", [None, asyncio.CancelledError()], ids=["lost", "canceled"])
def test_a_login_without_an_answer_is_one_session(
    lossy: ends.LossyDriver, how: str, error: BaseException | None
) -> None:
    cookie = begun()
    session = SessionStore(cookie)
    session.load()
    session.cycle_key()
    session[USER_ID] = "7"
    lossy.lose("add", how, error)
    with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
        session.save()
    session.save()
    assert entries(session.session_key) == {"cart": 1, USER_ID: "7"}
    assert entries(cookie) == {}


def test_a_login_without_an_answer_that_is_given_up_leaves_the_client_where_it_was(
    lossy: ends.LossyDriver,
) -> None:
    browser = Browser(begun())

    def login(request: Any) -> None:
        request.session.cycle_key()
        request.session[USER_ID] = "7"
        lossy.lose("add", ends.NOT_SENT)

    browser.visit(login)
    assert browser.response.status_code == 503
    assert entries(browser.cookie) == {"cart": 1}


def test_a_claim_without_an_answer_is_one_session(lossy: ends.LossyDriver, how: str) -> None:
    cookie = begun()
    session = SessionStore(cookie)
    session.flush()
    session["next"] = 1
    lossy.lose("replace", how)
    with pytest.raises(StoreUnavailable):
        session.save()
    session.save()
    assert entries(session.session_key) == {"next": 1}
    assert entries(cookie) == {}


def test_of_two_successors_of_a_logout_one_is_interrupted(lossy: ends.LossyDriver) -> None:
    cookie = begun()
    one, two = SessionStore(cookie), SessionStore(cookie)
    one.load()
    two.load()
    one.flush()
    two.flush()
    one["a"], two["b"] = 1, 2
    one.save()
    with pytest.raises(SessionEnded):
        two.save()


SCRIPT = """
import json, sys

import django
from django.conf import settings

given = json.loads(sys.argv[1])
settings.configure(INSTALLED_APPS=["django_multisession"], USE_TZ=True, **given)
django.setup()
from django_multisession.engines.cookie import SessionStore

for line in sys.stdin:
    verb, cookie = line.split()
    session = SessionStore(cookie)
    found = dict(session.load())
    if verb == "logout":
        session.flush()
    print(json.dumps(found), flush=True)
"""


def test_a_logout_in_one_process_is_known_in_another(revocable: None, settings: Settings) -> None:
    names = ("SECRET_KEY", "SESSION_ENGINE", "MULTISESSION_COOKIE", "MULTISESSION_REDIS")
    given = json.dumps({name: getattr(settings, name) for name in names})
    cookie = begun()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]

    def ask(worker: subprocess.Popen[str], verb: str) -> Any:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(f"{verb} {cookie}\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    try:
        first, second = workers
        assert ask(first, "read") == ask(second, "read") == {"cart": 1}
        assert ask(first, "logout") == {"cart": 1}
        assert ask(first, "read") == ask(second, "read") == entries(cookie) == {}
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
