"""A session in a store that two requests come with, and a look at what they leave there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone

from django_multisession.core import payloads
from django_multisession.core.records import Record, to_milliseconds
from django_multisession.drivers.base import Driver, run
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import USER_ID, storage_key
from django_multisession.testing.interleaving.model import ENTRIES, Content, Outcome, Pair, Reply
from django_multisession.testing.interleaving.requests import Elsewhere, login_entries
from django_multisession.testing.verbs import Clock

#: Settings under which everything in the table can happen.
SETTINGS: dict[str, Any] = {
    "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN": True,
    "MULTISESSION_ON_INTERRUPTED": "error",
    "MULTISESSION_CONFLICT_RESOLVERS": {"wishes": "django_multisession.resolvers.union"},
    "SESSION_COOKIE_AGE": 1209600,
    "SESSION_EXPIRE_AT_BROWSER_CLOSE": False,
    "SESSION_SAVE_EVERY_REQUEST": False,
}
UNTIL_A_TOUCH = 60

#: Of a verb that stores a record: which argument is the key.
_KEY_POSITIONS = {"add": 0, "move": 1}


class WatchedDriver:
    """A driver that notes every key under which it is to store a record."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.keys: set[str] = set()

    def __getattr__(self, verb: str) -> Any:
        """Return *verb* of the driver."""
        method = getattr(self._driver, verb)
        position = _KEY_POSITIONS.get(verb)
        if position is None:
            return method

        def noting(*arguments: Any) -> Any:
            self.keys.add(arguments[position])
            return method(*arguments)

        return noting


def watched(
    session_store: type[DriverSessionStore],
) -> tuple[type[DriverSessionStore], WatchedDriver]:
    """Return *session_store* over a driver that is watched, and that driver."""
    driver = WatchedDriver(session_store.get_driver())

    class SessionStore(session_store):  # type: ignore[misc, valid-type]  # a class at run time
        @classmethod
        def get_driver(cls) -> Driver:
            return driver  # it has every verb of one

    return SessionStore, driver


class Stage:
    """A session in a store, and the time at which two requests come with its key.

    Args:
        pair: What they do.
        store: A store over *driver*.
        driver: Notes what is stored.
        clock: Drives ``timezone.now()``.
        is_async: Does what happens elsewhere call the a-verbs?
        login: The entries that say who is logged in, from the user's id.
    """

    def __init__(
        self,
        pair: Pair,
        store: type[DriverSessionStore],
        driver: WatchedDriver,
        clock: Clock,
        *,
        is_async: bool,
        login: Callable[[str], dict[str, str]] = login_entries,
    ) -> None:
        self.store = store
        self._driver = driver
        driver.keys.clear()
        clock.now = Clock().now
        session = store()
        session.update(ENTRIES)
        if pair.owner is not None:
            session.update(login(pair.owner))
        session.save()
        self.key = session.session_key or ""
        if pair.is_touch_due:
            clock.advance(UNTIL_A_TOUCH)
        self.elsewhere = Elsewhere(store, self.key, clock, is_async=is_async)

    def outcome(self, *answers: tuple[int, str, str]) -> Outcome:
        """Look at what is there now, through the store and in it.

        Args:
            answers: What A's and B's clients got: status, what became of the cookie, and its key if
                it was set.
        """
        opened = {key: self._open(key) for key in {self.key, *(key for _, _, key in answers)}}
        first, second = (Reply(status, cookie, opened[key]) for status, cookie, key in answers)
        live = self._live()
        return Outcome(
            replies=(first, second),
            live=tuple(sorted(live.values(), key=repr)),
            old_key_leads_to=opened[self.key],
            is_old_key_live=storage_key(self.key) in live,
        )

    def _live(self) -> dict[str, Content]:
        """Return what every live record holds, whoever may come to it."""
        now = to_milliseconds(timezone.now())
        stored = {key: run(self._driver.get(key)) for key in self._driver.keys}
        return {
            key: self._content(record)
            for key, record in stored.items()
            if isinstance(record, Record) and record.is_live(now)
        }

    def _content(self, record: Record) -> Content:
        serializer = self.store().serializer()
        entries = payloads.deserialize(payloads.decompress(record.payload), serializer)
        return Content.of(record.user_id, entries)

    def _open(self, session_key: str) -> Content | None:
        if not session_key:
            return None
        session = self.store(session_key)
        entries = session.load()
        if not entries and not session.exists(session_key):
            return None
        return Content.of(entries.get(USER_ID), entries)
