from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.dispatch import Signal

from django_multisession import signals
from django_multisession.drivers.base import Ask, Driver, Enumerable, Indexed, Purging, Server
from django_multisession.drivers.memory import MemoryServer
from django_multisession.session import events
from django_multisession.testing.engine.signal_laws import EVERY_SIGNAL
from django_multisession.testing.rows import for_each

NOW = 1_767_268_800_000
ALL = {each for each in vars(signals).values() if isinstance(each, Signal)}


SERVER = MemoryServer(1, lambda: 0.0)


def asked(verb: str, server: Server = SERVER) -> Ask:
    return Ask(server, verb, None)


def test_every_signal_has_laws_and_a_log_line() -> None:
    assert set(EVERY_SIGNAL) == ALL
    assert set(events.LINES) == ALL


def test_a_line_without_arguments_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    events.log(signals.invalid_session_key, {"is_of_another_engine": False})
    assert caplog.messages == ["A session key that this site did not sign was refused."]


def test_a_line_is_filled_with_its_arguments(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "django_multisession")
    events.log(signals.session_ended, {"storage_key": "abc", "reason": "flushed"})
    assert caplog.messages == ["Session abc was ended (flushed)."]


def test_an_outage_begins_once_and_ends_once() -> None:
    watch = events.OutageWatch()
    assert watch.note_answer(asked("get"), lambda: NOW) is None
    assert watch.note_failure(asked("get"), NOW)
    assert not watch.note_failure(asked("get"), NOW + 1000)
    assert watch.note_answer(asked("get"), lambda: NOW + 5001) == timedelta(seconds=5.001)
    assert watch.note_answer(asked("get"), lambda: NOW) is None
    assert watch.note_failure(asked("get"), NOW)


def test_of_many_threads_one_notes_each_end_of_an_outage() -> None:
    watch = events.OutageWatch()
    with ThreadPoolExecutor(8) as threads:
        for _ in range(200):
            assert sum(threads.map(watch.note_failure, [asked("get")] * 8, [NOW] * 8)) == 1
            ends = threads.map(watch.note_answer, [asked("get")] * 8, [lambda: NOW] * 8)
            assert [end for end in ends if end is not None] == [timedelta(0)]


def test_no_clock_is_asked_while_all_is_well() -> None:
    def refuse() -> int:
        pytest.fail("it was")

    assert events.OutageWatch().note_answer(asked("get"), refuse) is None


def test_an_outage_of_one_kind_of_verb_does_not_end_with_another() -> None:
    watch = events.OutageWatch()
    assert watch.note_failure(asked("replace"), NOW)
    for verb in ("get", "delete"):
        assert watch.note_answer(asked(verb), lambda: NOW) is None
        assert not watch.note_failure(asked("add"), NOW)
    assert watch.note_answer(asked("touch"), lambda: NOW) == timedelta(0)


def test_an_outage_of_one_server_does_not_end_with_the_answer_of_another() -> None:
    watch, other = events.OutageWatch(), MemoryServer(1, lambda: 0.0)
    assert watch.note_failure(asked("add"), NOW)
    assert watch.note_answer(asked("add", other), lambda: NOW) is None
    assert watch.note_failure(asked("add", other), NOW)
    assert not watch.note_failure(asked("add"), NOW)
    assert watch.note_answer(asked("add"), lambda: NOW + 1000) == timedelta(seconds=1)
    assert watch.is_on
    assert watch.note_answer(asked("add", other), lambda: NOW) == timedelta(0)
    assert not watch.is_on


@for_each("verb", ["retire", "withdraw", "purge_expired"])
def test_an_outage_of_ends_ends_with_any_of_them(verb: str) -> None:
    watch = events.OutageWatch()
    assert watch.note_failure(asked("delete"), NOW)
    assert watch.note_answer(asked("move"), lambda: NOW) is None
    assert watch.note_answer(asked(verb), lambda: NOW) == timedelta(0)


def test_every_verb_of_a_driver_is_of_a_kind() -> None:
    named = {
        name
        for each in (Driver, Purging, Enumerable, Indexed)
        for name in vars(each)
        if not name.startswith("_")
    }
    # The last one sends what another verb does, by that verb's name.
    others = {"capabilities", "server", "check", "close", "aclose", "write_and_get"}
    assert set(events._KINDS) == (named - others) | {"load_foreign", "end_foreign"}
    assert set(events._KINDS.values()) == {"read", "end", "store", "foreign"}
