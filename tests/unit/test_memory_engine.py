"""The memory engine's own times: they follow ``timezone.now()``, as every other time does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_multisession.engines import memory

if TYPE_CHECKING:
    from tests.conftest import Clock


def test_a_tombstone_of_the_memory_engine_lasts_a_minute_of_the_clock_of_sessions(
    clock: Clock,
) -> None:
    session = memory.SessionStore()
    session["a"] = 1
    session.save()
    key = session.session_key
    memory.SessionStore(key).flush()
    clock.advance(seconds=59)
    within = memory.SessionStore(key)
    within.load()
    clock.advance(seconds=2)
    after = memory.SessionStore(key)
    after.load()
    # One that knows of the end keeps its key; one that finds nothing has none.
    assert (within.session_key, after.session_key) == (key, None)
