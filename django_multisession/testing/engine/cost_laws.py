"""The laws of a session's cost: how often it is serialized, and when it is freed."""

from __future__ import annotations

import gc
import weakref

from django_multisession.session.respond import CookieAnswer
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.faults import EngineFaultFixtures
from django_multisession.testing.engine.fixtures import Open, saved
from django_multisession.testing.engine.serializers import (
    CountedSerializer,
    serialized_by,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Run, SessionVerbs

KEEP, SET = CookieAnswer.KEEP, CookieAnswer.SET


class EngineCostLaws(EngineFaultFixtures):
    """A request serializes what it changed, and leaves nothing to the garbage collector."""

    def test_a_request_that_reads_serializes_nothing(self, open_session: Open) -> None:
        with serialized_by(CountedSerializer):
            key = saved(open_session, name="Ada", cart=["tea"]).key
            CountedSerializer.dumped = 0
            session = open_session(key)
            assert (session["name"], session["cart"]) == ("Ada", ["tea"])
            assert session.entries() == {"name": "Ada", "cart": ["tea"]}
            assert session.respond() is KEEP
            assert CountedSerializer.dumped == 0

    @for_each("is_nested", [False, True], ids=["set", "nested"])
    def test_a_request_that_changes_serializes_at_most_twice(
        self, open_session: Open, *, is_nested: bool
    ) -> None:
        with serialized_by(CountedSerializer):
            key = saved(open_session, name="Ada", cart=["tea"]).key
            CountedSerializer.dumped = 0
            session = open_session(key)
            if is_nested:
                session["cart"].append("ink")
            else:
                session["name"] = "Grace"
            assert session.respond() is SET
            assert CountedSerializer.dumped <= 2

    @for_each("use", ["read", "change"])
    def test_a_session_that_was_used_is_freed_without_the_garbage_collector(
        self, session_store: type[DriverSessionStore], open_session: Open, run: Run | None, use: str
    ) -> None:
        key = saved(open_session, a=1, cart=[1]).key
        gc.collect()
        gc.disable()
        try:
            session = SessionVerbs(session_store(key), run)
            assert session["cart"] == [1]
            if use == "change":
                session["a"] = 2
            session.respond()
            reference = weakref.ref(session.session)
            del session
            assert reference() is None
        finally:
            gc.enable()

    def test_a_session_that_was_not_used_is_freed_without_the_garbage_collector(
        self, session_store: type[DriverSessionStore], open_session: Open, run: Run | None
    ) -> None:
        gc.disable()
        try:
            session = SessionVerbs(session_store("x" * 40), run)
            session.respond()
            reference = weakref.ref(session.session)
            del session
            assert reference() is None
        finally:
            gc.enable()
