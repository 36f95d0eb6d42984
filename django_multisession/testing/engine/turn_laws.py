"""The laws of tasks and threads that share a session: each goes on from what the other saved."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

from django_multisession import signals
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.faults import (
    EngineFaultFixtures,
    FaultyDriver,
    run_in_threads,
)
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, storage_key
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, Run, SessionVerbs, open_runner

SUMMED = override_settings(
    MULTISESSION_CONFLICT_RESOLVERS={"n": "django_multisession.resolvers.sum_of_changes"}
)

#: For the first four answers: each arrives in time, or so late that those after it are first.
DELAYS = tuple(itertools.product((0, 5), repeat=4))

#: What the resolver below does while it runs; a law puts it here.
_in_resolver: list[Callable[[], Any]] = []


def calling_sum(base: Any, theirs: Any, mine: Any) -> Any:
    """Add both requests' changes, and use a session in between."""
    for act in _in_resolver:
        act()
    return theirs + mine - base


class EngineTurnLaws(EngineFaultFixtures):
    """A request never takes its own save for another request's."""

    @pytest.fixture
    def run_async(self) -> Iterator[Run]:
        """Return what runs coroutines in one event loop."""
        run, close = open_runner("async")
        assert run is not None
        yield run
        close()

    @pytest.fixture
    def open_shared(
        self, faulty_store: type[DriverSessionStore], clock: Clock, run_async: Run
    ) -> Open:
        """Return what opens a session that tasks of one event loop share."""
        return lambda key=None: SessionVerbs(faulty_store(key), run_async)

    # Tasks

    def test_a_counter_that_tasks_of_a_request_add_to_counts_each_addition_once(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run
    ) -> None:
        async def add(session: DriverSessionStore, number: int) -> None:
            await session.aset("n", (await session.aget("n") or 0) + number)
            await session.asave()

        for delays in DELAYS:
            session = _read(open_shared, n=0)
            adds = [add(session, number) for number in (5, 7, 11)]
            with SUMMED:
                run_async(_side_by_side(faulty, delays, *adds))
            assert open_shared(session.session_key).entries() == {"n": 23}

    @for_each("is_login", [False, True], ids=["cycle", "login"])
    def test_a_new_key_beside_a_save_of_the_same_request_loses_nothing(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run, *, is_login: bool
    ) -> None:
        expected = {"a": 1, "b": 0, USER_ID: "7"} if is_login else {"a": 1, "b": "7"}
        for delays in DELAYS:
            session = _read(open_shared, a=0, b=0)
            tasks = [_set(session, "a", 1), _move(session, USER_ID if is_login else "b")]
            run_async(_side_by_side(faulty, delays, *tasks))
            assert open_shared(session.session_key).entries() == expected
            assert faulty.live_added() == [storage_key(session.session_key)]

    def test_a_save_beside_a_new_key_of_the_same_request_loses_nothing(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run
    ) -> None:
        for delays in DELAYS:
            session = _read(open_shared, a=0)
            run_async(_side_by_side(faulty, delays, _move(session, USER_ID), _set(session, "a", 1)))
            assert open_shared(session.session_key).entries() == {"a": 1, USER_ID: "7"}
            assert faulty.live_added() == [storage_key(session.session_key)]

    @for_each("first", ["login", "logout"])
    def test_a_logout_beside_a_login_of_the_same_request_leaves_no_other_session_alive(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run, first: str
    ) -> None:
        for delays in DELAYS:
            session = _read(open_shared, a=0)
            tasks = [_move(session, USER_ID), session.aflush()]
            run_async(_side_by_side(faulty, delays, *tasks[:: 1 if first == "login" else -1]))
            key = session.session_key
            live = [] if key is None else [storage_key(key)]
            assert faulty.live_added() in ([], live)

    def test_saves_of_two_tasks_keep_what_both_set(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run
    ) -> None:
        for delays in DELAYS:
            session = open_shared(saved(open_shared, a=0, b=0).key).session
            tasks = [_set(session, name, 1) for name in "ab"]
            run_async(_side_by_side(faulty, delays, *tasks))
            assert open_shared(session.session_key).entries() == {"a": 1, "b": 1}

    @for_each("delays", [(9, 0), (0, 9)], ids=["first-last", "first-first"])
    @for_each("is_reader_first", [True, False], ids=["reader", "writer"])
    def test_a_first_load_that_waited_takes_nothing_back(
        self,
        open_shared: Open,
        faulty: FaultyDriver,
        run_async: Run,
        delays: tuple[int, int],
        *,
        is_reader_first: bool,
    ) -> None:
        session = open_shared(saved(open_shared, a=0, b=0).key).session
        tasks = [session.aset("a", 1), session.aget("b")]
        if is_reader_first:
            tasks.reverse()
        run_async(_side_by_side(faulty, delays, *tasks))
        run_async(session.asave())
        assert open_shared(session.session_key).entries() == {"a": 1, "b": 0}

    def test_a_load_beside_a_change_takes_nothing_back(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run
    ) -> None:
        session = _read(open_shared, a=0, b=0)

        async def change() -> None:
            session.clear()
            await session.aset("a", 1)

        run_async(_side_by_side(faulty, (9,), session.aload(), change()))
        run_async(session.asave())
        assert open_shared(session.session_key).entries() == {"a": 1}

    # Threads

    def test_a_counter_that_threads_of_a_request_add_to_counts_each_addition_once(
        self, open_shared: Open, faulty: FaultyDriver
    ) -> None:
        session = _read(open_shared, n=0)
        # Each thread begins while the ones before it wait for their answers.
        faulty.hold_in_threads(until=(4, 0, 6, 6))

        are_set = [threading.Event() for _ in range(3)]

        def add(thread: int, begun: int, total: int) -> None:
            if thread:
                are_set[thread - 1].wait()
            faulty.wait_for_commands(begun)
            session["n"] = total
            are_set[thread].set()
            session.save()

        with SUMMED:
            works = enumerate(((0, 5), (1, 12), (3, 23)))
            run_in_threads(*(functools.partial(add, thread, *each) for thread, each in works))
        assert open_shared(session.session_key).entries() == {"n": 23}

    # A turn is re-entrant

    def test_a_resolver_may_use_the_session(self, open_session: Open) -> None:
        key = saved(open_session, n=1, a=2).key
        mine, theirs = open_session(key), open_session(key)
        mine["n"], theirs["n"] = 11, 101
        seen: list[Any] = []
        theirs.save()
        _in_resolver.append(lambda: seen.append(mine.session["a"]))
        try:
            with override_settings(
                MULTISESSION_CONFLICT_RESOLVERS={"n": f"{__name__}.calling_sum"}
            ):
                mine.save()
        finally:
            _in_resolver.clear()
        assert seen == [2]
        assert open_session(key)["n"] == 111

    def test_a_receiver_may_use_the_session(self, open_session: Open, run: Run | None) -> None:
        session = open_session(saved(open_session, a=1).key)
        session.cycle_key()
        seen: list[Any] = []

        def receive(**_arguments: Any) -> None:
            seen.append(session.session.get("a"))

        async def areceive(**_arguments: Any) -> None:
            seen.append(await session.session.aget("a"))

        receiver = receive if run is None else areceive
        signals.session_key_changed.connect(receiver)
        try:
            session.save()
        finally:
            signals.session_key_changed.disconnect(receiver)
        assert seen == [1]

    def test_a_hook_may_use_the_session(
        self, session_store: type[DriverSessionStore], open_session: Open, run: Run | None
    ) -> None:
        class SessionStore(session_store):  # type: ignore[misc, valid-type]  # the law's engine
            def save(self, must_create: bool = False) -> None:
                self["saves"] = self.get("saves", 0) + 1
                super().save(must_create)

            async def asave(self, must_create: bool = False) -> None:
                await self.aset("saves", await self.aget("saves", 0) + 1)
                await super().asave(must_create)

        session = SessionVerbs(SessionStore(saved(open_session, a=1).key), run)
        session["a"] = 2
        session.respond()
        assert open_session(session.key).entries() == {"a": 2, "saves": 1}

    def test_a_sync_receiver_inside_a_turn_does_not_wait_for_a_thread_that_waits_for_the_turn(
        self, open_shared: Open, faulty: FaultyDriver, run_async: Run
    ) -> None:
        session = _read(open_shared, a=0, b=0)
        seen: list[Any] = []

        def receive(**_arguments: Any) -> None:
            seen.append(session.get("a"))

        def save() -> None:
            session["b"] = 1
            session.save()

        async def use() -> None:
            # In the one thread in which the sync receiver has to run too.
            sync_save = sync_to_async(save, thread_sensitive=True)
            tasks = [_move(session, USER_ID), sync_save()]
            await asyncio.wait_for(_side_by_side(faulty, (9,), *tasks), 30)

        signals.session_key_changed.connect(receive)
        try:
            run_async(use())
        finally:
            signals.session_key_changed.disconnect(receive)
        assert seen == [0]


def _read(open_session: Open, **entries: Any) -> DriverSessionStore:
    """Return a stored session that a request has read."""
    session = open_session(saved(open_session, **entries).key)
    session.entries()
    return session.session


async def _set(session: DriverSessionStore, name: str, value: Any) -> None:
    await session.aset(name, value)
    await session.asave()


async def _move(session: DriverSessionStore, name: str) -> None:
    await session.acycle_key()
    await session.aset(name, "7")
    await session.asave()


async def _side_by_side(
    driver: FaultyDriver, delays: Sequence[int], *tasks: Awaitable[Any]
) -> None:
    """Run *tasks* in one loop; the answers of their first commands arrive *delays* turns later."""
    driver.delay(delays)
    driver.added.clear()
    await asyncio.gather(*tasks)
