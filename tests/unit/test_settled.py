"""The short look at the end of a request says nothing that the long one would not say.

Whatever `respond.settled` answers, `respond.respond` answers too, and stores nothing for it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_multisession.drivers.memory import MemoryDriver
from django_multisession.session import respond
from django_multisession.session.respond import CookieAnswer
from django_multisession.store import DriverSessionStore
from django_multisession.testing.rows import for_each
from tests.conftest import Clock

MINUTE, HOUR = 60.0, 3600.0

Act = Callable[[DriverSessionStore], object]


def _nothing(_session: DriverSessionStore) -> None:
    pass


def _set(session: DriverSessionStore) -> None:
    session["name"] = "Grace"


def _set_as_it_was(session: DriverSessionStore) -> None:
    session["name"] = session.get("name")


def _append(session: DriverSessionStore) -> None:
    session.setdefault("cart", []).append("ink")


def _drop(session: DriverSessionStore) -> None:
    session.pop("name", None)


def _log_in(session: DriverSessionStore) -> None:
    session["_auth_user_id"] = "7"


def _say(*, is_modified: bool) -> Act:
    return lambda session: setattr(session, "modified", is_modified)


def _forget_entries(session: DriverSessionStore) -> None:
    with contextlib.suppress(AttributeError):
        del session._session_cache


#: What a request does with its session.
ACTS: dict[str, Act] = {
    "nothing": _nothing,
    "read": lambda session: session.get("name"),
    "read what can change": lambda session: session.get("cart"),
    "set": _set,
    "set as it was": _set_as_it_was,
    "append": _append,
    "drop": _drop,
    "log in": _log_in,
    "modified": _say(is_modified=True),
    "not modified": _say(is_modified=False),
    "expiry": lambda session: session.set_expiry(300),
    "browser length": lambda session: session.set_expiry(0),
    "no use": lambda session: setattr(session, "counts_as_use", False),
    "clear": lambda session: session.clear(),
    "flush": lambda session: session.flush(),
    "delete": lambda session: session.delete(),
    "cycle": lambda session: session.cycle_key(),
    "save": lambda session: session.save(),
    "create": lambda session: session.create(),
    "load": lambda session: session.load(),
    "forget": _forget_entries,
    "is empty": lambda session: session.is_empty(),
}
#: What happens beside it.
ELSEWHERE = ("a minute", "an hour", "another save", "another logout")


def _store_over(driver: MemoryDriver) -> type[DriverSessionStore]:
    class SessionStore(DriverSessionStore):
        @classmethod
        def get_driver(cls) -> Any:
            return driver

    return SessionStore


def _happen(event: str, clock: Clock, store: type[DriverSessionStore], key: str | None) -> None:
    if event in {"a minute", "an hour"}:
        clock.advance(seconds=MINUTE if event == "a minute" else HOUR)
        return
    other = store(key)
    if event == "another save":
        other["other"] = 1
        with contextlib.suppress(UpdateError):
            other.save()
    else:
        other.flush()


def _play(
    clock: Clock, store: type[DriverSessionStore], key: str | None, events: tuple[str, ...]
) -> DriverSessionStore:
    session = store(key)
    for event in events:
        if event in ACTS:
            with contextlib.suppress(UpdateError, CreateError):
                ACTS[event](session)
        else:
            _happen(event, clock, store, key)
    return session


def _judge(session: DriverSessionStore, driver: MemoryDriver, *, may_save: bool) -> bool:
    """Compare both looks; return whether the short one said anything."""
    inner = session._recognized
    said = respond.settled(inner)
    if said is None:
        return False
    before = {key: slot.raw for key, slot in driver.server.slots.items()}
    assert session._run(respond.respond(inner, may_save=may_save)) is said
    assert {key: slot.raw for key, slot in driver.server.slots.items()} == before
    return True


def _begin(store: type[DriverSessionStore], known: str) -> str | None:
    if known == "no cookie":
        return None
    if known == "forged":
        return "x" * 40
    session = store()
    session.update({"name": "Ada", "cart": ["tea"]})
    session.save()
    return session.session_key


KNOWN = ("no cookie", "forged", "stored")


@for_each(("known", "saves_always"), itertools.product(KNOWN, (False, True)))
def test_the_short_look_agrees_with_the_long_one_after_any_two_events(
    clock: Clock, known: str, *, saves_always: bool
) -> None:
    answers = 0
    with override_settings(SESSION_SAVE_EVERY_REQUEST=saves_always):
        for events in itertools.product([*ACTS, *ELSEWHERE], repeat=2):
            driver = MemoryDriver()
            store = _store_over(driver)
            session = _play(clock, store, _begin(store, known), events)
            answers += _judge(session, driver, may_save=True)
    # Otherwise this says nothing.
    assert answers > (20 if known == "stored" else 50) * (not saves_always or known != "stored")


@given(
    known=st.sampled_from(KNOWN),
    events=st.lists(st.sampled_from([*ACTS, *ELSEWHERE]), max_size=7),
    may_save=st.booleans(),
)
def test_the_short_look_agrees_with_the_long_one_after_any_events(
    known: str, events: list[str], *, may_save: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        from django.utils import timezone

        clock = Clock()
        patch.setattr(timezone, "now", lambda: clock.now)
        driver = MemoryDriver()
        store = _store_over(driver)
        session = _play(clock, store, _begin(store, known), tuple(events))
        _judge(session, driver, may_save=may_save)


def test_a_page_that_only_read_is_settled(clock: Clock) -> None:
    driver = MemoryDriver()
    store = _store_over(driver)
    session = _play(clock, store, _begin(store, "stored"), ("read",))
    assert respond.settled(session._recognized) is CookieAnswer.KEEP


def test_a_use_that_is_due_is_not_settled(clock: Clock) -> None:
    driver = MemoryDriver()
    store = _store_over(driver)
    session = _play(clock, store, _begin(store, "stored"), ("a minute", "read"))
    assert respond.settled(session._recognized) is None
