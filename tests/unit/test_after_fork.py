"""A fork copies locks that another thread holds; the child does not wait for them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from django_multisession import engine
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.session.events import OutageWatch
from django_multisession.testing.rows import for_each
from tests.unit.test_events import asked

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork to survive"),
    pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning"),
]

NOW = 1_767_268_800_000
#: Seconds that a child may take for what takes it microseconds.
PATIENCE = 5


def exit_code_of_child(work: Callable[[], object]) -> int:
    """Run *work* in a forked child; a child that waits for a lock ends by SIGALRM."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        try:
            work()
        except BaseException:  # noqa: BLE001  (nothing may leave the child)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_while_a_driver_is_opened_leaves_the_child_a_free_lock() -> None:
    engine.close_drivers()
    is_open, may_end = threading.Event(), threading.Event()

    def open_slowly() -> MemoryDriver:
        is_open.set()
        may_end.wait()
        return MemoryDriver()

    slow = engine.Engine(name="slow", open=lambda _options: open_slowly())
    quick = engine.Engine(name="quick", open=lambda _options: MemoryDriver())
    opener = threading.Thread(target=slow.driver)
    opener.start()
    is_open.wait()
    try:
        code = exit_code_of_child(quick.driver)
    finally:
        may_end.set()
        opener.join()
        engine.close_drivers()
    assert code == 0


@for_each("note", ["failure", "answer"])
def test_a_fork_while_an_outage_is_noted_leaves_the_child_a_free_lock(note: str) -> None:
    watch, ask = OutageWatch(), asked("get")
    watch.note_failure(ask, NOW)

    def work() -> None:
        if note == "failure":
            watch.note_failure(ask, NOW)
        else:
            watch.note_answer(ask, lambda: NOW)

    with watch._lock:
        code = exit_code_of_child(work)
    assert code == 0
