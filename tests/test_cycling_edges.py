"""Corners of periodic cycling: slow clients, old cookies beside new ones, a server that fails amid it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession import signals
from django_multisession.drivers.base import Driver
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.records import Answer, Record
from django_multisession.responding import CookieAnswer
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine_fixtures import heard, storage_key

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

AFTER, GRACE = 900, 60
USER_ID = "_auth_user_id"


class Failing(MemoryDriver):
    """Refuses the verbs that it is told to."""

    def __init__(self) -> None:
        super().__init__(server_clock=lambda: 0.0)
        self.refused: set[str] = set()

    def _require(self, verb: str) -> None:
        if verb in self.refused:
            raise StoreUnavailable(f"{verb} is refused.")

    def replace(self, key: str, record: Record, expected: str, now: datetime) -> Answer:
        self._require("replace")
        return super().replace(key, record, expected, now)

    def move(self, old_key: str, *arguments: Any) -> Answer:
        self._require("move")
        return super().move(old_key, *arguments)

    def touch(self, key: str, touched_at: datetime, now: datetime) -> bool:
        self._require("touch")
        return super().touch(key, touched_at, now)

    def delete(self, key: str) -> bool:
        self._require("delete")
        return super().delete(key)

    def forget(self, key: str, life: timedelta) -> None:
        self._require("forget")
        super().forget(key, life)


@pytest.fixture
def driver() -> Failing:
    return Failing()


@pytest.fixture
def store(driver: Failing, settings: Settings, clock: Clock) -> type[DriverSessionStore]:
    settings.MULTISESSION_CYCLE_AFTER = AFTER
    settings.MULTISESSION_CYCLE_GRACE = GRACE

    class Store(DriverSessionStore):
        @classmethod
        def get_driver(cls) -> Driver:
            return driver

    return Store


def begun(store: type[DriverSessionStore]) -> str:
    session = store()
    session["a"] = 1
    session.save()
    return session.session_key or ""


def visit(store: type[DriverSessionStore], *keys: str) -> tuple[DriverSessionStore, CookieAnswer]:
    """Let a request with the cookies *keys* read its session."""
    session = store(keys[0])
    session.offer_keys(keys[1:])
    session.get("a")
    return session, session.respond()


def cycled(store: type[DriverSessionStore], clock: Clock) -> tuple[str, str]:
    """Return the old and the new key of a session whose client was not seen with the new one."""
    old = begun(store)
    clock.advance(seconds=AFTER)
    return old, visit(store, old)[0].session_key or ""


def test_what_tidies_up_behind_a_save_does_not_fail_it(
    store: type[DriverSessionStore], driver: Failing, clock: Clock
) -> None:
    old, _new = cycled(store, clock)
    driver.refused = {"forget"}
    session = store(old)
    session.cycle_key()
    session[USER_ID] = "7"
    assert session.respond() is CookieAnswer.SET
    assert store(session.session_key)[USER_ID] == "7"


def test_a_request_that_first_reads_after_the_grace_period_is_judged_by_when_it_came(
    store: type[DriverSessionStore], clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ON_LATE_KEY = "end"
    old, new = cycled(store, clock)
    slow = store(old)
    visit(store, new)
    clock.advance(seconds=GRACE * 2)
    assert slow.get("a") == 1
    assert visit(store, new)[0].get("a") == 1


@pytest.mark.parametrize("mode", ["signal", "end"])
def test_an_old_cookie_beside_the_current_one_is_no_late_key(
    store: type[DriverSessionStore], clock: Clock, settings: Settings, mode: str
) -> None:
    settings.MULTISESSION_ON_LATE_KEY = mode
    old, new = cycled(store, clock)
    visit(store, new)
    clock.advance(seconds=GRACE * 2)
    with heard(signals.late_key_used) as events:
        session, _answer = visit(store, old, new)
    assert (session.get("a"), session.session_key, events) == (1, new, [])


def test_an_old_cookie_beside_the_new_one_does_not_stop_cycling(
    store: type[DriverSessionStore], clock: Clock
) -> None:
    old, new = cycled(store, clock)
    visit(store, old, new)
    clock.advance(seconds=AFTER)
    newest = visit(store, old, new)[0].session_key
    assert newest not in (old, new)
    assert visit(store, old)[0].get("a") is None


def test_a_client_that_never_takes_the_new_key_goes_on_while_it_is_active(
    store: type[DriverSessionStore], clock: Clock, settings: Settings, driver: Failing
) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 1800
    # The server's clock follows.
    beginning = clock.now

    def seconds() -> float:
        return (clock.now - beginning).total_seconds()

    driver._server_clock = seconds
    old, _new = cycled(store, clock)
    for _ in range(20):
        clock.advance(seconds=300)
        assert visit(store, old)[0].get("a") == 1


@pytest.mark.parametrize("refused", ["move", "replace"])
def test_a_page_that_only_reads_does_not_fail_where_a_cycle_cannot_be_stored(
    store: type[DriverSessionStore], driver: Failing, clock: Clock, refused: str
) -> None:
    if refused == "move":
        key = begun(store)
        clock.advance(seconds=AFTER)
    else:
        key = cycled(store, clock)[1]
    driver.refused = {"move", "replace", "touch", "add"}
    session = store(key)
    assert session["a"] == 1
    session.save()
    assert session.session_key == key
    session["a"] = 2
    with pytest.raises(StoreUnavailable):
        session.save()


def test_a_page_that_only_read_and_met_a_logout_as_its_cycle_was_due_changed_nothing(
    store: type[DriverSessionStore], clock: Clock
) -> None:
    key = begun(store)
    clock.advance(seconds=AFTER)
    session = store(key)
    assert session["a"] == 1
    store(key).flush()
    with heard(signals.session_interrupted) as events:
        assert session.respond() is CookieAnswer.KEEP
    assert events == []


def test_a_late_key_that_opens_nothing_ends_nothing_and_is_no_session(
    store: type[DriverSessionStore], clock: Clock
) -> None:
    old, new = cycled(store, clock)
    visit(store, new)
    clock.advance(seconds=GRACE * 2)
    assert not store().exists(old)
    store(old).flush()
    assert visit(store, new)[0].get("a") == 1


def test_what_a_late_key_did_not_end_is_not_told_as_ended(
    store: type[DriverSessionStore], driver: Failing, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_ON_LATE_KEY = "end"
    old, new = cycled(store, clock)
    visit(store, new)
    clock.advance(seconds=GRACE * 2)
    driver.refused = {"delete"}
    with heard(signals.late_key_used) as events, pytest.raises(StoreUnavailable):
        store(old).get("a")
    assert events == [
        {
            "storage_key": storage_key(old),
            "current_storage_key": storage_key(new),
            "is_ended": False,
        }
    ]
