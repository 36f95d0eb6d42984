"""Every engine against the plain model, in random sequences of overlapping requests.

A longer run: ``MULTISESSION_SEQUENCES=20000 pytest tests/stateful``.
"""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from django.contrib.sessions.backends.base import UpdateError
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_multisession.drivers.base import Purging
from django_multisession.session.respond import CookieAnswer
from django_multisession.testing.verbs import Run, SessionVerbs, open_runner
from tests.conftest import Clock, Running
from tests.engine_fixtures import ONE_OF_EACH_KIND, TIERED, Engine, use_engine
from tests.stateful.model import USER, Answer, Model, Request

if TYPE_CHECKING:
    from pytest_django import Settings

#: Put through in each of two modes (1,200 in all), unless the environment says otherwise.
SEQUENCES = {
    "memory": 300,
    "redis": 150,
    "mongodb": 100,
    "memcached": 100,
    "database": 50,
    "tiered": 100,
}
STEPS = 30

names = st.sampled_from("ab")
slots = st.integers(0, 2)
values = st.integers(0, 1)


class Overlaps(RuleBasedStateMachine):
    """Three requests at most are under way; each has its own store over one of the known keys."""

    engine: Engine
    clock: Clock
    run: Run | None

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(
            purges=isinstance(self.engine.driver, Purging),
            follows_clock=self.engine.kind == "memory",
            tombstone_seconds=120 if self.engine.kind == "database" else float("inf"),
        )
        self.keys: list[str] = []
        self.requests: list[tuple[SessionVerbs, Request]] = []

    def _open(self, key: str | None) -> SessionVerbs:
        return SessionVerbs(self.engine.SessionStore(key), self.run)

    def _learn(self, key: str | None) -> None:
        if key is not None and key not in self.keys:
            self.keys.append(key)

    @initialize()
    def begin_with_a_session(self) -> None:
        self._begin(None)
        self.put(0, "a", 0)
        self.respond(0)

    @rule(
        choice=st.integers(0, 8),
        what=st.sampled_from(["", "read", "put", "put", "append", "log_in"]),
        name=names,
        value=values,
    )
    def begin(self, choice: int, what: str, name: str, value: int) -> None:
        """Let a request begin, and mostly do something immediately."""
        # One of the last keys: what has ended long ago is no news.
        recent = self.keys[-2:]
        self._begin(recent[choice % len(recent)] if recent and choice else None)
        last = len(self.requests) - 1
        if what in ("put", "append"):
            self.change(last, what, name, value)
        elif what == "log_in":
            self.log_in(last, "78"[value])
        elif what:
            self.read(last)

    def _begin(self, key: str | None) -> None:
        self.requests = [*self.requests[-2:], (self._open(key), Request(key, self.model.now))]

    @precondition(lambda self: self.keys)
    @rule(choice=st.integers(0, 2))
    def visit(self, choice: int) -> None:
        """One whole request that only reads: it touches and confirms."""
        key = self.keys[-3:][choice % len(self.keys[-3:])]
        self._begin(key)
        self.read(len(self.requests) - 1)
        self.respond(len(self.requests) - 1)

    @precondition(lambda self: self.requests)
    @rule(
        slot=slots, what=st.sampled_from(["put", "put", "append", "pop"]), name=names, value=values
    )
    def change(self, slot: int, what: str, name: str, value: int) -> None:
        arguments = (name,) if what == "pop" else (name, value)
        getattr(self, what)(slot, *arguments)

    @precondition(lambda self: self.requests)
    @rule(slot=slots, what=st.sampled_from(["read", "read", "cycle", "clear"]))
    def use(self, slot: int, what: str) -> None:
        getattr(self, what)(slot)

    @precondition(lambda self: self.requests and self.keys)
    @rule(choice=slots, what=st.sampled_from(["log_out", "end_from_elsewhere", "purge", "purge"]))
    def end(self, choice: int, what: str) -> None:
        arguments = () if what == "purge" else (choice,)
        getattr(self, what)(*arguments)

    @precondition(lambda self: len(self.requests) > 1)
    @rule(slot=slots)
    def respond_to_one_of_several(self, slot: int) -> None:
        self.respond(slot)

    def read(self, slot: int) -> None:
        session, request = self._of(slot)
        entries = session.entries()
        self.model.read(request)
        assert entries == request.entries

    def put(self, slot: int, name: str, value: int) -> None:
        session, request = self._of(slot)
        session[name] = [value]
        self.model.put(request, name, [value])

    def append(self, slot: int, name: str, value: int) -> None:
        session, request = self._of(slot)
        self.model.read(request)
        found = session.get(name)
        if found is not None:
            found.append(value)
            self.model.append(request, name, value)

    def pop(self, slot: int, name: str) -> None:
        session, request = self._of(slot)
        session.pop(name, None)
        self.model.pop(request, name)

    def clear(self, slot: int) -> None:
        session, request = self._of(slot)
        session.session.clear()
        self.model.clear(request)

    def cycle(self, slot: int) -> None:
        session, request = self._of(slot)
        self._cycle(session, request)

    @precondition(lambda self: self.requests)
    @rule(slot=slots, user=st.sampled_from("78"))
    def log_in(self, slot: int, user: str) -> None:
        """Do as ``django.contrib.auth.login()`` does."""
        session, request = self._of(slot)
        self.model.read(request)
        if USER in session:
            if session[USER] != user:
                session.flush()
                self.model.flush(request)
        else:
            self._cycle(session, request)
        before = session.key
        session[USER] = user
        is_new = self.model.notes_login(request)
        assert (session.key != before) == is_new
        request.key = session.key
        self.model.put(request, USER, user)

    def log_out(self, slot: int) -> None:
        session, request = self._of(slot)
        session.flush()
        self.model.flush(request)
        self._compare()

    @precondition(lambda self: self.requests)
    @rule(slot=slots)
    def respond(self, slot: int) -> None:
        session, request = self._of(slot)
        expected_from = session.key
        try:
            answer = Answer[session.respond().name]
        except UpdateError:
            answer = Answer.INTERRUPTED
        expected = self.model.respond(request, functools.partial(getattr, session, "key"))
        assert answer is expected
        if answer is Answer.SET:
            assert session.key == request.key, expected_from
            self._learn(session.key)
        self.requests.remove((session, request))
        self._compare()

    def end_from_elsewhere(self, choice: int) -> None:
        key = self.keys[-3:][choice % len(self.keys[-3:])]
        # Not in the context of these requests: code of a request that ends its own session's old
        # key, while a new one waits, is another matter (`session.context`).
        elsewhere, store = contextvars.Context(), self.engine.SessionStore()
        if self.run is None:
            elsewhere.run(store.delete, key)
        else:
            run: Any = self.run
            run(store.adelete(key), context=elsewhere)
        self.model.end(key)
        self._compare()

    @rule(seconds=st.sampled_from([1, 59, 60, 61, 150, 150, 299, 300, 300, 600]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)
        self.model.wait(seconds)
        self._compare()

    def purge(self) -> None:
        if self.run is None:
            self.engine.SessionStore.clear_expired()
        else:
            self.run(self.engine.SessionStore.aclear_expired())
        self.model.purge()
        self._compare()

    def _of(self, slot: int) -> tuple[SessionVerbs, Request]:
        return self.requests[slot % len(self.requests)]

    def _cycle(self, session: SessionVerbs, request: Request) -> None:
        before = session.key
        session.cycle_key()
        self.model.gives_key(request)
        assert session.key not in (None, before)
        request.key = session.key

    def _compare(self) -> None:
        """Let a client come with every key that was ever given."""
        for key in self.keys[-6:]:
            assert self._open(key).entries() == self.model.seen_by(key)


@pytest.fixture(params=(*ONE_OF_EACH_KIND, TIERED))
def compared_engine(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Engine:
    """Every engine, on one kind of server each, and two tiers."""
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(params=["sync", "async"])
def machine(
    request: pytest.FixtureRequest, compared_engine: Engine, clock: Clock, settings: Settings
) -> Iterator[type[Overlaps]]:
    settings.MULTISESSION_IDLE_TIMEOUT = 600
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = 3600
    run, close = open_runner(request.param)
    attributes = {
        "engine": compared_engine,
        "clock": clock,
        "run": staticmethod(run) if run else None,
    }
    yield type("Machine", (Overlaps,), attributes)
    close()


@pytest.mark.long
def test_overlapping_requests_do_what_the_model_says(machine: type[Overlaps]) -> None:
    sequences = os.environ.get("MULTISESSION_SEQUENCES") or SEQUENCES[machine.engine.kind]
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=int(sequences),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )


def test_a_late_login_where_a_purge_removed_the_session_or_not(machine: type[Overlaps]) -> None:
    run = machine()
    run.begin_with_a_session()
    run.wait(61 + 600)
    run.purge()
    run.begin(choice=1, what="", name="a", value=0)
    run.end_from_elsewhere(0)
    run.log_in(0, "7")
    run.wait(60)
    run.log_in(0, "8")
    run.respond(0)


def test_a_cookie_answer_is_one_of_the_models() -> None:
    assert {each.name for each in CookieAnswer} < {each.name for each in Answer}


def test_a_login_over_a_logout_that_was_forgotten_meanwhile(machine: type[Overlaps]) -> None:
    run = machine()
    run.begin_with_a_session()
    run.begin(choice=1, what="", name="a", value=0)
    run.end(choice=0, what="log_out")
    run.log_in(slot=0, user="7")
    # A database keeps a row that no purge has removed.
    run.wait(150)
    run.respond(slot=0)
    run.visit(choice=0)
