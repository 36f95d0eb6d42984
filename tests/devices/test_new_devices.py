"""Which logins come from a new device."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from django_multisession.exceptions import OutageKind, SessionEnded, StoreUnavailable
from django_multisession.session import devices, index
from django_multisession.session.index import Found
from tests.devices.conftest import Visitor, told
from tests.unit.test_devices import CHROME, FIREFOX, IPHONE, LATER_FIREFOX
from tests.user_sessions.conftest import Functions, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock


def test_a_login_with_another_device_is_told(
    visitor: Visitor, functions: Functions, user: User
) -> None:
    visitor.log_in(user)
    with told(visitor.engine) as sent:
        store = visitor.log_in(user, CHROME, REMOTE_ADDR="198.51.100.4")
    key: Any = store._recognized.key
    (found,) = (each for each in functions.list_sessions(user) if each.user_agent == CHROME)
    assert sent == [
        {
            "storage_key": key.storage_key,
            "user_id": str(user.pk),
            "session_id": found.id,
            "user_agent": CHROME,
            "device": "Chrome on Windows",
            "address": "198.51.100.0/24",
        }
    ]


def test_a_login_over_a_session_is_told_too(visitor: Visitor, user: User) -> None:
    visitor.log_in(user)
    before = visitor.engine.SessionStore()
    before["cart"] = 1
    visitor.functions.call(before, "save")
    with told(visitor.engine) as sent:
        visitor.log_in(user, CHROME, over=before.session_key)
    assert [each["user_agent"] for each in sent] == [CHROME]


def test_no_login_is_told_that_has_a_known_device_or_nothing_to_compare_with(
    visitor: Visitor, settings: Settings, user: User
) -> None:
    with told(visitor.engine) as sent:
        settings.MULTISESSION_RECORD_USER_AGENT = False
        visitor.log_in(user)
        settings.MULTISESSION_RECORD_USER_AGENT = True
        first = visitor.log_in(user)
        visitor.log_in(user, LATER_FIREFOX)
        visitor.log_in(user, FIREFOX, REMOTE_ADDR="198.51.100.4")
        visitor.log_in(make_user(), CHROME)
        settings.MULTISESSION_RECORD_USER_AGENT = False
        visitor.log_in(user, CHROME)
        store = visitor.engine.SessionStore(first.session_key)
        visitor.functions.call(store, "cycle_key")
        visitor.functions.call(store, "save")
    assert sent == []


def test_a_session_that_ended_is_not_compared_with(
    visitor: Visitor, functions: Functions, user: User
) -> None:
    visitor.log_in(user)
    phone = visitor.log_in(user, IPHONE)
    functions.call(phone, "flush")
    with told(visitor.engine) as sent:
        visitor.log_in(user, IPHONE)
    assert len(sent) == 1


def test_a_login_that_ends_itself_is_not_told(
    visitor: Visitor, functions: Functions, clock: Clock, user: User
) -> None:
    clock.advance(-timedelta(seconds=2))
    late = visitor.enter(user, CHROME)
    clock.advance(timedelta(seconds=1))
    functions.end_all_sessions(user)
    clock.advance(timedelta(seconds=1))
    visitor.log_in(user)
    with told(visitor.engine) as sent, pytest.raises(SessionEnded):
        functions.call(late, "save")
    assert sent == []


@pytest.mark.parametrize("at_limit", ["oldest", "least_used"])
def test_a_login_that_ends_the_known_devices_at_the_limit_is_told(
    visitor: Visitor, functions: Functions, settings: Settings, user: User, at_limit: str
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    settings.MULTISESSION_AT_LIMIT = at_limit
    visitor.log_in(user)
    with told(visitor.engine) as sent:
        visitor.log_in(user, LATER_FIREFOX)
        visitor.log_in(user, CHROME)
    assert [(each["user_agent"], each["device"]) for each in sent] == [
        (CHROME, "Chrome on Windows")
    ]
    (left,) = functions.list_sessions(user)
    assert left.id == sent[0]["session_id"]


def test_a_login_is_told_whose_known_devices_a_concurrent_login_ended(
    visitor: Visitor, settings: Settings, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    visitor.log_in(user)

    def find_nothing(_session: Any, _user_id: str) -> Any:
        return []
        yield

    # What the limit found before it is kept, what the comparison finds isn't.
    monkeypatch.setattr(index, "find", find_nothing)
    with told(visitor.engine) as sent:
        visitor.log_in(user, CHROME)
        visitor.log_in(user, CHROME)
    assert [each["user_agent"] for each in sent] == [CHROME]


def test_an_outage_breaks_no_login(
    visitor: Visitor, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.log_in(user)

    def refuse(*_arguments: Any, **_more: Any) -> Any:
        raise StoreUnavailable("It is down.", kind=OutageKind.UNREACHABLE)
        yield

    monkeypatch.setattr(index, "find", refuse)
    with told(visitor.engine) as sent:
        store = visitor.log_in(user, CHROME)
    assert sent == []
    assert not store.has_met_outage
    assert visitor.recorded(store)[0] == CHROME


def test_the_list_is_asked_only_while_someone_listens(
    visitor: Visitor, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(_session: Any, user_id: str) -> Any:
        asked.append(user_id)
        return []
        yield

    monkeypatch.setattr(index, "find", note)
    visitor.log_in(user)
    assert asked == []
    with told(visitor.engine):
        visitor.log_in(user)
    assert asked == [str(user.pk)]


def test_a_new_device_is_logged(
    visitor: Visitor, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    visitor.log_in(user)
    caplog.set_level(logging.INFO, "django_multisession")
    with told(visitor.engine) as sent:
        visitor.log_in(user, CHROME)
    assert caplog.messages == [
        f"User {user.pk} logged in with a new device: session {sent[0]['storage_key']}."
    ]


@pytest.fixture
def found_with() -> Callable[[str | None, int, bytes], Found]:
    """Make what the list finds, as far as it is compared."""

    @dataclasses.dataclass
    class Began:
        began_ms: int
        series: bytes

    def make(agent: str | None, began: int, series: bytes) -> Found:
        record: Any = Began(began, series)
        return Found("", record, 0, False, agent, "")

    return make


def test_of_two_concurrent_logins_with_one_new_device_one_is_new(
    found_with: Callable[..., Found],
) -> None:
    old = found_with(FIREFOX, 1, b"x")
    for began in (5, 6):
        one, other = found_with(CHROME, 5, b"a"), found_with(CHROME, began, b"b")
        assert [devices.is_new(each, [old, one, other]) for each in (one, other)] == [True, False]
        assert not any(devices.is_new(each, [one, other]) for each in (one, other))


def test_logins_of_one_moment_are_compared_and_later_ones_are_not(
    found_with: Callable[..., Found],
) -> None:
    one, other = found_with(FIREFOX, 5, b"b"), found_with(CHROME, 5, b"a")
    assert [devices.is_new(each, [one, other]) for each in (one, other)] == [True, True]
    later = found_with(CHROME, 6, b"a")
    assert [devices.is_new(each, [one, later]) for each in (one, later)] == [False, True]
