"""Subclasses whose hooks meet old records, other threads, and copies of their sessions."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

from django_multisession.core.records import Record
from django_multisession.drivers import base
from django_multisession.engines.memory import SessionStore
from django_multisession.testing.engine.faults import run_in_threads
from django_multisession.testing.engine.fixtures import storage_key
from django_multisession.testing.rows import for_each


class Spelled(SessionStore):
    """Stores entries by a method of its own."""

    def encode(self, session_dict: Any) -> str:
        return "|".join(f"{name}~{value}" for name, value in session_dict.items())

    def decode(self, session_data: Any) -> dict[str, Any]:
        return dict(part.split("~") for part in session_data.split("|"))


class Remembering(SessionStore):
    """Its cookies live for a minute."""

    def get_session_cookie_age(self) -> int:
        return 60


def test_a_record_from_before_the_hook_is_no_session() -> None:
    session = SessionStore()
    session["name"] = "Ada"
    session.save()
    assert Spelled(session.session_key).load() == {}


@for_each(
    "copied",
    [copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))],
)
def test_a_copy_of_a_session_asks_its_own_hooks(copied: Callable[[Any], Any]) -> None:
    session = Spelled()
    session["name"] = "Ada"
    session.save()
    other = copied(session)
    key = session.session_key
    del session
    other["name"] = "Grace"
    other.save()
    assert Spelled(key).load() == {"name": "Grace"}


def test_a_hook_that_another_thread_is_asked_does_not_change_this_ones_answer() -> None:
    asked, saved = threading.Event(), threading.Event()

    class Slow(Remembering):
        def get_session_cookie_age(self) -> int:
            if threading.current_thread() is not threading.main_thread() and not asked.is_set():
                asked.set()
                saved.wait(10)
            return super().get_session_cookie_age()

    session = Slow()
    session["name"] = "Ada"

    def ask() -> None:
        session.get_expiry_age()

    def save() -> None:
        asked.wait(10)
        session.save()
        saved.set()

    run_in_threads(ask, save)
    stored = base.run(Slow.get_driver().get(storage_key(session.session_key)))
    assert isinstance(stored, Record)
    assert stored.idle_ms == 60_000
