"""Engines with one mistake each, for the demo's walk to find."""

from __future__ import annotations

import copy
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from django_multisession.core.records import SAVED, Answer, Record, Stored, Tombstone
from django_multisession.drivers.base import Driver, Steps
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines.memory import SessionStore
from django_multisession.session.respond import CookieAnswer


class LosesSaves(SessionStore):
    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            super().save(must_create)


class LosesNestedChanges(SessionStore):
    def setdefault(self, key: str, value: Any) -> Any:  # type: ignore[override]  # as django-stubs
        return copy.deepcopy(self[key]) if key in self else super().setdefault(key, value)


class SetsCookieAtOnce(SessionStore):
    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        if session_key is None:
            self["seen"] = True


class LosesAsyncEntries(SessionStore):
    async def aget(self, name: str, default: Any = None) -> Any:
        return None if name == "cart" else await super().aget(name, default)

    async def aitems(self) -> Any:
        return {name: value for name, value in (await super().aitems()) if name != "cart"}.items()


class KeepsKeyAtLogin(SessionStore):
    def cycle_key(self) -> None:
        pass

    def __setitem__(self, name: str, value: Any) -> None:
        SessionBase.__setitem__(self, name, value)


class KeepsKeyAtSecondLogin(SessionStore):
    def __setitem__(self, name: str, value: Any) -> None:
        SessionBase.__setitem__(self, name, value)


class KeepsMadeUpCookies(SessionStore):
    def respond(self, *, may_save: bool = True) -> CookieAnswer:
        answer = super().respond(may_save=may_save)
        return CookieAnswer.KEEP if answer is CookieAnswer.REMOVE else answer

    async def arespond(self, *, may_save: bool = True) -> CookieAnswer:
        return self.respond(may_save=may_save)


class OutlivesLogout(SessionStore):
    def flush(self) -> None:
        self.clear()
        self._session_key = None


class _ForgetfulDriver(MemoryDriver):
    """Does not remember which sessions were ended or moved."""

    def get(self, key: str) -> Steps[Stored]:
        stored = yield from super().get(key)
        return None if isinstance(stored, Tombstone) else stored


class _CopyingDriver(MemoryDriver):
    """Leaves the old session where it was."""

    def move(
        self,
        old_key: str,
        new_key: str,
        record: Record,
        base: Record | Tombstone,
        left: Tombstone,
        now: int,
    ) -> Steps[Answer]:
        yield from self.add(new_key, record)
        return SAVED


_FORGETFUL, _COPYING = _ForgetfulDriver(), _CopyingDriver()


class DeletesNewCookieLate(SessionStore):
    @classmethod
    def get_driver(cls) -> Driver:
        return _FORGETFUL


class KeepsOldKeyAlive(SessionStore):
    @classmethod
    def get_driver(cls) -> Driver:
        return _COPYING
