"""What each of two overlapping requests does, phase by phase, written once for sync and async.

A phase is a coroutine. In sync play none of its verbs suspends; in async play they are the async counterparts.
Each request has a context of its own, as a site's requests have.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, Protocol

from django_multisession.core.records import EXPIRY_SLACK
from django_multisession.exceptions import SessionEnded
from django_multisession.session.respond import CookieAnswer
from django_multisession.settings import conf
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.fixtures import USER_ID
from django_multisession.testing.interleaving.model import (
    INTERRUPTED,
    KEPT,
    NEW_OWNERS,
    OK,
    OWNER,
    REMOVED,
    SET,
)
from django_multisession.testing.interleaving.table import SILENT, Action
from django_multisession.testing.verbs import Clock

_COOKIES = {CookieAnswer.KEEP: KEPT, CookieAnswer.SET: SET, CookieAnswer.REMOVE: REMOVED}


def login_entries(user_id: str) -> dict[str, str]:
    """Return what ``login()`` leaves in a session."""
    return {USER_ID: user_id, "_auth_user_hash": f"of {user_id}"}


class AwaitedVerbs:
    """The verbs of a session, spelled without the a; each is awaited, also the sync ones."""

    def __init__(self, session: Any, *, is_async: bool) -> None:
        self._session = session
        self._is_async = is_async

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        """Return *verb*: ``get``, ``set``, ``pop`` or any other."""
        if self._is_async:
            counterpart: Callable[..., Awaitable[Any]] = getattr(self._session, f"a{verb}")
            return counterpart
        method = getattr(self._session, "__setitem__" if verb == "set" else verb)

        async def call(*arguments: Any, **keywords: Any) -> Any:
            return method(*arguments, **keywords)

        return call


class Site(Protocol):
    """What an action needs of the site that it is played on."""

    @property
    def session(self) -> Any:
        """The verbs of the request's session, each awaited and spelled without the a."""

    async def log_in(self, user_id: str) -> None:
        """Log a user in, as ``django.contrib.auth.login()`` does."""

    async def log_out(self) -> None:
        """Log out, as ``django.contrib.auth.logout()`` does."""


class Elsewhere:
    """What happens to the session *key* without a request of its client."""

    def __init__(
        self, store: type[DriverSessionStore], key: str, clock: Clock, *, is_async: bool
    ) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._is_async = is_async

    async def end(self) -> None:
        """End it by its key, as a page that lists a user's devices does."""
        await AwaitedVerbs(self._store(), is_async=self._is_async).delete(self._key)

    def expire(self) -> None:
        """Let so much time pass that it expires, and may be removed."""
        idle_timeout = conf.config().policy.idle_timeout or timedelta(0)
        self._clock.advance((idle_timeout + 2 * EXPIRY_SLACK).total_seconds())

    async def purge(self) -> None:
        """Remove what has expired, as ``manage.py clearsessions`` does."""
        await AwaitedVerbs(self._store, is_async=self._is_async).clear_expired()


async def use(action: Action, site: Site) -> None:
    """Use the session, as a page does before it comes to what it is for."""
    if action not in SILENT:
        await site.session.get("same")


async def act(  # noqa: C901  (one line or two for each action)
    action: Action, name: str, site: Site, elsewhere: Elsewhere
) -> None:
    """Do what *action* is, as the request *name*; `interleaving_model.changes` says the same."""
    session = site.session
    match action:
        case Action.READ | Action.TOUCH:
            await session.get("cart")
        case Action.SAVE:
            await session.set("same", name)
            await session.set(f"saved by {name}", True)
        case Action.NESTED:
            for entry in ("cart", "wishes"):
                (await session.setdefault(entry, [])).append(name)
        case Action.DELETE_ENTRY:
            for entry in ("same", "gone", f"gone by {name}"):
                await session.pop(entry, None)
        case Action.CYCLE:
            await session.cycle_key()
        case Action.LOGIN | Action.RELOGIN:
            await site.log_in(NEW_OWNERS[name] if action is Action.LOGIN else OWNER)
            await session.set(f"greeting of {name}", True)
        case Action.LOGOUT:
            await site.log_out()
        case Action.END:
            await elsewhere.end()
        case Action.PURGE:
            elsewhere.expire()


async def end(action: Action, elsewhere: Elsewhere) -> None:
    """Do what is left to do for *action* when it is no request of the session's client."""
    if action is Action.PURGE:
        await elsewhere.purge()


class Request:
    """One of the two requests, on a session of its own and without a site around it."""

    def __init__(
        self,
        action: Action,
        name: str,
        store: type[DriverSessionStore],
        session_key: str,
        elsewhere: Elsewhere,
        *,
        is_async: bool,
    ) -> None:
        self._action = action
        self._name = name
        self._make_store = functools.partial(store, session_key)
        self._elsewhere = elsewhere
        self._is_async = is_async
        self._context = contextvars.copy_context()
        self._phases = iter((self._use, self._act, self._respond))
        #: What the client got: status, what became of its cookie, and the key if that was set.
        self.answer = (OK, KEPT, "")

    def go_on(self) -> None:
        """Run the next phase."""
        self._context.run(run_unsuspended, next(self._phases)())

    async def ago_on(self) -> None:
        """See go_on()."""
        await asyncio.create_task(next(self._phases)(), context=self._context)

    async def log_in(self, user_id: str) -> None:
        """See Site.log_in()."""
        current = await self.session.get(USER_ID)
        if current is None:
            await self.session.cycle_key()
        elif current != user_id:
            await self.session.flush()
        await self.session.update(login_entries(user_id))

    async def log_out(self) -> None:
        """See Site.log_out()."""
        await self.session.flush()

    async def _use(self) -> None:
        # Not before: a session object counts its age from when it was made.
        self._store = self._make_store()
        self.session = AwaitedVerbs(self._store, is_async=self._is_async)
        await use(self._action, self)

    async def _act(self) -> None:
        await act(self._action, self._name, self, self._elsewhere)

    async def _respond(self) -> None:
        if self._action in SILENT:
            await end(self._action, self._elsewhere)
            return
        try:
            cookie = _COOKIES[await self.session.respond()]
        except SessionEnded:
            self.answer = (INTERRUPTED, KEPT, "")
        else:
            self.answer = (OK, cookie, (self._store.session_key or "") if cookie == SET else "")


def run_unsuspended(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in which nothing suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("A phase of a sync request suspended.")
