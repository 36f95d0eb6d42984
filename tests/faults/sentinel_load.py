"""Visitors who save all the time, what they were promised, and what of it is there afterwards.

Every save adds an entry of its own to its visitor's session, so that a save that was lost can be
told from one that another save covered. Every few saves a visitor begins a new session; every
second one is ended by a logout first.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.store import DriverSessionStore
from django_multisession.testing.verbs import Run, SessionVerbs, open_runner

SAVES_OF_A_SESSION = 10
DEADLINE_SECONDS = 120
POLL_SECONDS = 0.01


@dataclasses.dataclass(slots=True)
class Promise:
    """What the visitor of one session was told.

    Attributes:
        session_key: It.
        saves: How many saves were acknowledged: its entries from 0 on.
        is_ended: Was its logout acknowledged?
        may_be_ended: Was a logout begun?
        is_gone: Was it found to be gone?
        saved_at: When each was acknowledged.
        ended_at: When that was.
    """

    session_key: str
    saves: int = 0
    is_ended: bool = False
    may_be_ended: bool = False
    is_gone: bool = False
    saved_at: list[float] = dataclasses.field(default_factory=list)
    ended_at: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How the promises were kept.

    Attributes:
        saves: How many saves were acknowledged, but for those of sessions that were logged out.
        lost: Those of them that are not there.
        lost_at: When those were acknowledged.
        logouts: How many logouts were acknowledged.
        undone: Those of them whose session lives.
        undone_at: When those were acknowledged.
    """

    saves: int
    lost: int
    lost_at: list[float]
    logouts: int
    undone: int
    undone_at: list[float]


class Visitor:
    """Comes again and again until the load is over."""

    def __init__(
        self, store: type[DriverSessionStore], mode: str, is_over: threading.Event
    ) -> None:
        self._store, self._mode, self._is_over = store, mode, is_over
        self._run: Run | None = None
        self.promises: list[Promise] = []
        #: When a save or a logout was acknowledged, and when one was refused.
        self.acknowledged_at: list[float] = []
        self.refused_at: list[float] = []

    def come(self) -> None:
        self._run, close = open_runner(self._mode)
        try:
            for number in itertools.count():
                self._use_a_session()
                if number % 2 and not self._is_over.is_set():
                    self._log_out(self.promises[-1])
                if self._is_over.is_set():
                    return
        finally:
            close()

    def _use_a_session(self) -> None:
        begun: list[SessionVerbs] = []

        def begin() -> None:
            session = self._open(None)
            session["0"] = 0
            session.save()
            begun.append(session)

        if not self._insist(begin):
            self.promises.append(Promise("never begun"))
            return
        promise = Promise(begun[-1].key or "")
        self.promises.append(promise)
        self._keep(promise)
        for number in range(1, SAVES_OF_A_SESSION):
            if not self._insist(functools.partial(self._save, promise, number)) or promise.is_gone:
                return
            self._keep(promise)

    def _log_out(self, promise: Promise) -> None:
        promise.may_be_ended = True
        if self._insist(lambda: self._open(promise.session_key).flush()):
            promise.is_ended, promise.ended_at = True, time.monotonic()

    def _save(self, promise: Promise, number: int) -> None:
        session = self._open(promise.session_key)
        session[str(number)] = number
        try:
            session.save()
        except SessionEnded:
            # It was read on one server, and written on another that never had it.
            promise.is_gone = True
        # Where it was unknown already this is another session: its visitor sees that it is gone.
        promise.is_gone = promise.is_gone or session.key != promise.session_key

    def _keep(self, promise: Promise) -> None:
        promise.saves += 1
        promise.saved_at.append(time.monotonic())

    def _insist(self, do: Callable[[], Any]) -> bool:
        """Do it until it is acknowledged; False if the load is over before that."""
        while True:
            try:
                do()
            except StoreUnavailable:
                self.refused_at.append(time.monotonic())
                # A visitor who got an error page looks at it.
                if self._is_over.wait(POLL_SECONDS):
                    return False
            else:
                self.acknowledged_at.append(time.monotonic())
                return True

    def _open(self, session_key: str | None) -> SessionVerbs:
        return SessionVerbs(self._store(session_key), self._run)


class Load:
    """Visitors, while the block lasts.

    Args:
        store: Of the engine; ready for use in any thread.
        mode: ``"sync"`` or ``"async"``.
        visitors: How many, each in a thread of its own.
    """

    def __init__(self, store: type[DriverSessionStore], mode: str, visitors: int = 4) -> None:
        self._store, self._is_over = store, threading.Event()
        self.visitors = [Visitor(store, mode, self._is_over) for _ in range(visitors)]
        self._pool = ThreadPoolExecutor(visitors)
        self._visits: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._visits = [self._pool.submit(visitor.come) for visitor in self.visitors]
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._pool.shutdown()
        for visit in self._visits:
            visit.result()

    def wait_for_acknowledgements(self, number: int) -> None:
        """Return when every visitor was told so many more."""
        before = [len(visitor.acknowledged_at) for visitor in self.visitors]
        self._wait(
            lambda: all(
                len(visitor.acknowledged_at) - count >= number
                for visitor, count in zip(self.visitors, before, strict=True)
            )
        )

    def wait_for_refusals(self) -> None:
        """Return when every visitor was refused once more."""
        before = [len(visitor.refused_at) for visitor in self.visitors]
        self._wait(
            lambda: all(
                len(visitor.refused_at) > count
                for visitor, count in zip(self.visitors, before, strict=True)
            )
        )

    def longest_silence_after(self, moment: float) -> float:
        """Return for how long, after *moment*, some visitor was told of no success."""
        return max(
            max(later - earlier for earlier, later in itertools.pairwise(heard))
            for heard in (
                [moment, *(at for at in visitor.acknowledged_at if at > moment)]
                for visitor in self.visitors
            )
        )

    def judge(self) -> Judgement:
        """Compare what was promised with what is there; the load must be over."""
        lost_at: list[float] = []
        undone_at: list[float] = []
        saves = logouts = 0
        for promise in itertools.chain.from_iterable(one.promises for one in self.visitors):
            entries = dict(self._store(promise.session_key).items())
            if promise.is_ended:
                logouts += 1
                undone_at += [promise.ended_at] if entries else []
            elif not promise.may_be_ended:
                saves += promise.saves
                lost_at += [
                    at
                    for number, at in enumerate(promise.saved_at)
                    if entries.get(str(number)) != number
                ]
        return Judgement(
            saves=saves,
            lost=len(lost_at),
            lost_at=lost_at,
            logouts=logouts,
            undone=len(undone_at),
            undone_at=undone_at,
        )

    def _wait(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_so():
            for visit in self._visits:
                if visit.done():
                    visit.result()
            assert time.monotonic() < deadline, "the visitors must be served again in time"
            time.sleep(POLL_SECONDS)
