"""Visitors who save as fast as they are answered, and who know what must be stored.

Each one's session holds a list of tokens. A visit appends one and is answered with the list, so
that every answer shows whether a save that was acknowledged is gone, or one was made twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from tests.web.visits import Visit, page, run_at_once
from tests.wire.visitor import Response, Visitor, session_cookie

DEADLINE_SECONDS = 90
LOGIN_EVERY, LOGOUT_EVERY = 5, 9
REFUSED = 503
INTERRUPTED = 400


async def append(visit: Visit) -> Any:
    tokens = [*await visit.session.get("tokens", []), visit.request.GET["token"]]
    await visit.session.set("tokens", tokens)
    return {"tokens": tokens}


async def read(visit: Visit) -> Any:
    tokens = await visit.session.get("tokens", [])
    is_unreachable = visit.store.is_unreachable
    user = "" if is_unreachable else await visit.user()
    return {"tokens": tokens, "user": user, "is_unreachable": is_unreachable}


async def log_in(visit: Visit) -> None:
    await visit.log_in("ada")


async def log_out(visit: Visit) -> None:
    await visit.log_out()


PAGES = (append, read, log_in, log_out)


@dataclass(frozen=True, slots=True)
class Save:
    """One that was acknowledged, by the clock of `time.monotonic`."""

    asked_at: float
    answered_at: float


@dataclass(slots=True)
class Notes:
    """What one visitor was answered."""

    saves: list[Save] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    #: What must not happen → how often it did.
    wrongs: Counter[str] = field(default_factory=Counter)


class Site:
    """The pages, and the keys of sessions whose end was acknowledged."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.names: dict[Any, str] = {}
        self.ended_keys: list[str] = []
        self.is_closing = self.has_failed = False

    def __enter__(self) -> Self:
        for body in PAGES:
            self.names[body] = self._stack.enter_context(page(body))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Regular:
    """Somebody who saves, logs in and out, and begins again."""

    def __init__(self, site: Site, *, is_async: bool) -> None:
        self.is_async = is_async
        self.notes = Notes()
        self._site = site
        self._visitor = Visitor(is_async=is_async)
        #: Tokens that an acknowledged save stored.
        self._stored: list[str] = []
        #: Those of refused saves since: each may be stored or not.
        self._unsure: list[str] = []
        #: Was a login refused since? Then it may have moved the session to a key nobody was told.
        self._may_have_moved = False

    async def visit_until_closing(self) -> None:
        turn = 0
        while not self._site.is_closing:
            turn += 1
            if turn % LOGOUT_EVERY == 0:
                await self._leave()
            elif turn % LOGIN_EVERY == 0:
                await self._log_in()
            else:
                await self._append()
        while not (await self._read() or self._site.has_failed):
            pass

    async def _ask(self, body: Any, visitor: Visitor | None = None, **query: str) -> Response:
        asked_at = time.monotonic()
        name = self._site.names[body]
        response = await (visitor or self._visitor).get(f"visit/{name}", **query)
        self.notes.slowest = max(self.notes.slowest, time.monotonic() - asked_at)
        self.notes.answers[f"{body.__name__} {response.status_code}"] += 1
        is_removed = session_cookie(response) == ""
        if is_removed and not (body is log_out and response.status_code == 200):
            self.notes.wrongs["cookie removed"] += 1
        if response.status_code not in {200, REFUSED, INTERRUPTED}:
            self.notes.wrongs[f"{body.__name__} {response.status_code}"] += 1
        return response

    async def _append(self) -> None:
        token = secrets.token_hex(6)
        asked_at = time.monotonic()
        response = await self._ask(append, token=token)
        if response.status_code == 200:
            self._compare(shown := response.json()["answer"]["tokens"], token)
            # What this save wrote over can no longer change: whoever comes late is refused.
            self._stored, self._unsure, self._may_have_moved = shown, [], False
            self.notes.saves.append(Save(asked_at, time.monotonic()))
        elif response.status_code == REFUSED:
            self._unsure.append(token)
        else:
            self._begin_anew("append")

    async def _read(self) -> bool:
        """Compare what is stored; tell whether it could be read."""
        response = await self._ask(read)
        if response.status_code != 200:
            return False
        answer = response.json()["answer"]
        if answer["is_unreachable"]:
            if (answer["tokens"], answer["user"]) != ([], ""):
                self.notes.wrongs["something read during the outage"] += 1
            return False
        if self._may_have_moved and not answer["tokens"]:
            self._begin_anew("read")
        else:
            self._compare(answer["tokens"])
        return True

    async def _log_in(self) -> None:
        old_key = self._visitor.key
        response = await self._ask(log_in)
        if response.status_code == 200:
            if self._visitor.key == old_key:
                self.notes.wrongs["login under the old key"] += 1
            elif old_key is not None:
                self._site.ended_keys.append(old_key)
            self._may_have_moved = False
        elif response.status_code == REFUSED:
            self._may_have_moved = True
            await self._read()
        else:
            self._begin_anew("log_in")

    async def _leave(self) -> None:
        old_key = self._visitor.key
        while (await self._ask(log_out)).status_code != 200:
            if self._site.is_closing:
                return
        self._begin()
        if old_key is not None:
            self._site.ended_keys.append(old_key)
            await self._come_late(old_key)

    async def _come_late(self, old_key: str) -> None:
        """Save as a request does that was under way during the logout."""
        late = Visitor(is_async=self.is_async, key=old_key)
        response = await self._ask(append, late, token="late")
        if response.status_code not in {INTERRUPTED, REFUSED} or session_cookie(response):
            self.notes.wrongs["saved after the logout"] += 1

    def _begin_anew(self, where: str) -> None:
        """The session is gone: to a key that nobody was told, by a login that was refused."""
        if not self._may_have_moved:
            self.notes.wrongs[f"session gone at {where}"] += 1
        self.notes.answers["refused login had moved"] += 1
        self._begin()

    def _begin(self) -> None:
        # Not with the jar: Django's test client goes on sending a cookie that was removed, empty.
        self._visitor = self._visitor.stranger()
        self._stored, self._unsure, self._may_have_moved = [], [], False

    def _compare(self, shown: list[str], *sent: str) -> None:
        wrongs = self.notes.wrongs
        wrongs["lost"] += len(set(self._stored) - set(shown))
        wrongs["double"] += len(shown) - len(set(shown))
        wrongs["not sent"] += len(set(shown) - {*self._stored, *self._unsure, *sent})


class Late(Regular):
    """Somebody with the cookies of ended sessions."""

    async def visit_until_closing(self) -> None:
        while not self._site.is_closing:
            if self._site.ended_keys:
                await self.look(random.choice(self._site.ended_keys[-50:]))
            else:
                await self._ask(read)

    async def look(self, key: str) -> bool:
        """Look for something behind *key*; tell whether there was an answer."""
        response = await Visitor(is_async=self.is_async, key=key).get(
            f"visit/{self._site.names[read]}"
        )
        if response.status_code != 200:
            return False
        answer = response.json()["answer"]
        if (answer["tokens"], answer["user"]) != ([], ""):
            self.notes.wrongs["revived"] += 1
        return not answer["is_unreachable"]


class Load:
    """The visitors at work, while the block lasts: in a thread each, and in tasks of one loop."""

    def __init__(self, *, threads: int, tasks: int) -> None:
        self.site = Site()
        self.regulars = [
            Regular(self.site, is_async=number >= threads) for number in range(threads + tasks)
        ]
        self.late = [Late(self.site, is_async=is_async) for is_async in (False, True)]
        self._pool = ThreadPoolExecutor(threads + 2)
        self._runs: list[Future[None]] = []

    def __enter__(self) -> Self:
        self.site.__enter__()
        everybody = [*self.regulars, *self.late]
        for one in everybody:
            if not one.is_async:
                self._runs.append(self._pool.submit(run_at_once, one.visit_until_closing()))
        tasks = [one for one in everybody if one.is_async]
        self._runs.append(self._pool.submit(asyncio.run, _visit_in_tasks(tasks)))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Where the block failed, the server may never come back to be read.
        self.site.has_failed = kind is not None
        self.site.is_closing = True
        with self._pool:
            for run in self._runs:
                run.result()

    def wait_for_saves(self, count: int, since: float = 0.0) -> None:
        """Wait until everybody had *count* saves acknowledged that they asked for after *since*."""
        self.wait_until(lambda one: _count_since(one, since) >= count)

    def wait_until(self, all_have: Callable[[Regular], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(map(all_have, self.regulars)):
            assert time.monotonic() < deadline, [one.notes.answers for one in self.regulars]
            # Only of those: to be told an exception is to wait for it.
            assert not [run.exception() for run in self._runs if run.done()]
            time.sleep(0.02)

    @property
    def wrongs(self) -> dict[str, int]:
        """What must not have happened, and did."""
        found = sum((one.notes.wrongs for one in [*self.regulars, *self.late]), Counter[str]())
        return {what: times for what, times in found.items() if times}

    @property
    def answers(self) -> Counter[str]:
        return sum((one.notes.answers for one in self.regulars), Counter[str]())


def look_for_the_ended(load: Load) -> None:
    """Look behind the key of every session that was ended; `Load.wrongs` has what was there."""
    for key in load.site.ended_keys:
        while not run_at_once(load.late[0].look(key)):
            pass


async def _visit_in_tasks(some: list[Regular]) -> None:
    await asyncio.gather(*(one.visit_until_closing() for one in some))


def _count_since(one: Regular, since: float) -> int:
    return sum(save.asked_at > since for save in list(one.notes.saves))
