"""Settings that reach beyond the calendar are reported by a check, and are no 500."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from django_multisession.engines import memory
from django_multisession.middleware import SessionMiddleware
from django_multisession.settings import conf
from django_multisession.testing.rows import for_each
from tests.rows import restoring

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

TIMEOUTS = {
    "MULTISESSION_IDLE_TIMEOUT": "E001",
    "MULTISESSION_ABSOLUTE_TIMEOUT": "E002",
    "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT": "E003",
    "MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT": "E038",
    "MULTISESSION_TOUCH_INTERVAL": "E004",
}
CENTURY = 36_525 * 86_400


@for_each("value", [timedelta.max, timedelta(days=36_525, seconds=1), CENTURY + 1])
@for_each("name", TIMEOUTS)
@restoring
def test_a_timeout_of_more_than_a_century_is_reported(
    settings: Settings, name: str, value: Any
) -> None:
    setattr(settings, name, value)
    problems = conf.problems()
    assert [problem.id for problem in problems] == [f"multisession.{TIMEOUTS[name]}"]
    assert repr(value) in problems[0].message
    with pytest.raises(ImproperlyConfigured, match=name):
        memory.SessionStore().save()


@for_each("value", [10**12, 10**10, CENTURY + 1])
@restoring
def test_a_cookie_age_of_more_than_a_century_is_reported(settings: Settings, value: int) -> None:
    settings.SESSION_COOKIE_AGE = value
    problems = conf.problems()
    assert [problem.id for problem in problems] == ["multisession.E012"]
    assert repr(value) in problems[0].message


@for_each("name", [*TIMEOUTS, "SESSION_COOKIE_AGE"])
@restoring
def test_a_century_is_a_time(settings: Settings, name: str) -> None:
    if name == "MULTISESSION_TOUCH_INTERVAL":
        settings.MULTISESSION_IDLE_TIMEOUT = None
    setattr(settings, name, CENTURY)
    assert conf.problems() == []
    session = memory.SessionStore()
    session["a"] = 1
    session.respond()
    assert session.get_expiry_age() > 0
    found = memory.SessionStore(session.session_key)
    assert found["a"] == 1
    found.respond()


@for_each(
    "expiry",
    [datetime.max.replace(tzinfo=UTC), 2 * 10**11, 10**12, CENTURY + 1],
    ids=["last-moment", "6300-years", "10e12", "century"],
)
def test_a_cookie_lives_for_a_century_at_most(
    rf: RequestFactory, clock: Clock, expiry: Any
) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        request.session["a"] = 1
        request.session.set_expiry(expiry)
        return HttpResponse()

    # By a clock that is behind: the cookie's end is counted from the server's own.
    clock.now = datetime(2020, 1, 1, tzinfo=UTC)
    response: Any = SessionMiddleware(view)(rf.get("/"))
    assert response.cookies["sessionid"]["max-age"] <= CENTURY
