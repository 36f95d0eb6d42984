"""What an error reporter shows holds neither a cookie nor what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession.engines.cookie import SessionStore
from django_multisession.exceptions import SessionTooLarge, StoreUnavailable
from tests.unit.frames import caught, mail, shown

if TYPE_CHECKING:
    from pytest_django import Settings

# Made of pieces: an error mail shows the lines of files.
PRECIOUS = "-".join(["4111"] * 4)


@pytest.fixture
def cookie(revocable: None, settings: Settings) -> str:
    session = SessionStore()
    session["card"] = PRECIOUS
    session.save()
    # From now on no one answers.
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    return session.session_key or ""


def assert_hidden(error: BaseException, *secrets: str) -> None:
    for report in (shown(error), mail(error)):
        for secret in secrets:
            assert secret not in report


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.load(),
        lambda session: session["card"],
        lambda session: session.flush(),
        lambda session: asyncio.run(session.aload()),
    ],
    ids=["load", "read", "flush", "aload"],
)
def test_an_outage_shows_no_cookie_and_no_entry(cookie: str, use: Callable[..., Any]) -> None:
    session = SessionStore(cookie)
    error = caught(lambda: use(session), StoreUnavailable)
    assert_hidden(error, cookie, PRECIOUS)


@pytest.mark.parametrize("verb", ["exists", "delete", "aexists", "adelete"])
def test_an_error_mail_shows_no_cookie_that_code_named(cookie: str, verb: str) -> None:
    def use() -> None:
        found = getattr(SessionStore(), verb)(cookie)
        if asyncio.iscoroutine(found):
            asyncio.run(found)

    # The caller's argument is marked for Django's filter.
    error = caught(use, StoreUnavailable)
    assert cookie not in mail(error)
    assert PRECIOUS not in shown(error)


def test_an_outage_at_a_save_shows_no_cookie_and_no_entry(cookie: str, settings: Settings) -> None:
    lost, redis = settings.MULTISESSION_REDIS, settings.MULTISESSION_COOKIE
    settings.MULTISESSION_COOKIE = {}
    session = SessionStore(cookie)
    session.load()
    session["more"] = PRECIOUS[::-1]
    settings.MULTISESSION_COOKIE, settings.MULTISESSION_REDIS = redis, lost
    error = caught(session.save, StoreUnavailable)
    assert_hidden(error, cookie, PRECIOUS, PRECIOUS[::-1])


def test_a_session_that_does_not_fit_shows_no_entry(alone: None) -> None:
    session = SessionStore()
    session.update({"card": PRECIOUS, "rest": "x" * 3000})
    error = caught(session.save, SessionTooLarge)
    assert_hidden(error, PRECIOUS, "xxxx")
