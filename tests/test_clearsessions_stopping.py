"""``manage.py clearsessions`` while it runs: what it tells, and what stops it."""

from __future__ import annotations

import io
import json
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_multisession.drivers.base import Steps
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.management import progress
from django_multisession.management.commands import clearsessions
from tests.clearsessions_calls import Put, Terminal, clear, clear_json, put

if TYPE_CHECKING:
    pass

__all__ = ["put"]


# Progress


def test_a_terminal_gets_a_bar_that_knows_how_many_there_are(put: Put) -> None:
    put(MemoryDriver(), expired=4)
    out, err = clear("--batch-size=1", stderr=Terminal())
    assert out.startswith("Removed 4 ")
    assert "0/4" in err
    # Neither colours nor lines: the bar rewrites its own.
    assert "\x1b[31" not in err
    assert err.endswith("\r")


class Uncountable(MemoryDriver):
    """A collection so big that its server gives up counting."""

    def count_expired(self, now: int) -> Steps[int]:
        raise StoreUnavailable("MongoDB did not answer (NetworkTimeout).")


def test_a_count_that_fails_costs_the_bar_its_total_and_the_run_nothing(put: Put) -> None:
    driver = put(Uncountable(), expired=4)
    out, err = clear("--batch-size=3", stderr=Terminal())
    assert out.startswith("Removed 4 expired sessions in 2 batches, ")
    assert len(driver) == 0
    assert "\r0 sessions [" in err
    assert "/4" not in err


def test_a_dry_run_whose_count_fails_is_an_outage(put: Put) -> None:
    put(Uncountable(), expired=4)
    with pytest.raises(CommandError, match=r"^MongoDB did not answer \(NetworkTimeout\)\. "):
        clear("--dry-run", stderr=Terminal())


def test_a_log_gets_a_line_now_and_then_and_no_bar(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(MemoryDriver(), expired=3)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    out, err = clear("--batch-size=1")
    # Not for the last batch, of which the last line tells.
    assert err == "".join(
        f"{done} removed after 0 s.\n"
        for done in ("1 expired session", "2 expired sessions", "3 expired sessions")
    )
    assert out.startswith("Removed 3 ")
    assert out.count("\n") == 1


def test_a_log_gets_no_more_than_a_line_a_minute(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(MemoryDriver(), expired=5)
    times = iter([59.0, 60.0, 119.0, 121.0, 122.0, 123.0])
    monkeypatch.setattr(clearsessions, "stopwatch", lambda: lambda: next(times))
    _, err = clear("--batch-size=1")
    assert err == (
        "2 expired sessions removed after 60 s.\n4 expired sessions removed after 121 s.\n"
    )


def test_two_hundred_batches_are_one_line(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(MemoryDriver(), expired=200)
    monkeypatch.setattr(clearsessions, "stopwatch", lambda: lambda: 59.0)
    assert clear("--batch-size=1") == (
        "Removed 200 expired sessions in 200 batches, 59.0 s.\n",
        "",
    )


# Signals


class Interrupted(MemoryDriver):
    """A signal comes in the middle of the second batch."""

    def __init__(self, *numbers: signal.Signals) -> None:
        super().__init__()
        self._numbers = numbers
        self.batches = 0

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        self.batches += 1
        if self.batches == 2:
            for number in self._numbers:
                signal.raise_signal(number)
        return super().purge_expired(now, limit)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_batch_under_way(put: Put, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    driver = put(Interrupted(number), expired=10)
    with pytest.raises(CommandError) as caught:
        clear("--batch-size=3")
    assert caught.value.returncode == 128 + number
    assert str(caught.value).startswith(
        f"Stopped by {number.name}. Removed 6 expired sessions in 2 batches, "
    )
    assert len(driver) == 4
    assert signal.getsignal(number) is before
    assert clear_json()["removed"] == 4


def test_a_second_signal_stops_at_once(put: Put) -> None:
    driver = put(Interrupted(signal.SIGINT, signal.SIGINT), expired=10)
    with pytest.raises(KeyboardInterrupt):
        clear("--batch-size=3")
    assert len(driver) == 7


def test_a_signal_in_the_last_batch_finds_nothing_to_stop(put: Put) -> None:
    put(Interrupted(signal.SIGINT), expired=4)
    assert clear_json("--batch-size=3")["complete"] is True


def test_a_signal_that_is_ignored_stays_ignored(put: Put) -> None:
    put(Interrupted(signal.SIGINT), expired=10)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert clear_json("--batch-size=3")["complete"] is True
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_any_thread_may_run_it(put: Put) -> None:
    put(MemoryDriver(), expired=3)
    told = []
    thread = threading.Thread(target=lambda: told.append(clear_json()))
    thread.start()
    thread.join()
    assert [run["removed"] for run in told] == [3]


# Outages


class Failing(MemoryDriver):
    """Answers so many times, and then no more."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.answers = answers

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        self._answer()
        return super().purge_expired(now, limit)

    def count_expired(self, now: int) -> Steps[int]:
        self._answer()
        return super().count_expired(now)

    def _answer(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            raise StoreUnavailable("The server did not answer (ConnectionLost).")


def test_an_outage_tells_what_was_removed_until_then(put: Put) -> None:
    driver = Failing(1)
    put(driver, expired=5)
    with pytest.raises(CommandError) as caught:
        clear("--batch-size=2")
    assert str(caught.value) == (
        "The server did not answer (ConnectionLost). "
        "Removed at least 2 expired sessions until then; run the command again."
    )
    assert caught.value.returncode == 1
    driver.answers = 9
    assert clear_json()["removed"] == 3


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_an_outage_before_anything_is_told_too(put: Put, options: tuple[str, ...]) -> None:
    put(Failing(0))
    for stderr in (io.StringIO(), Terminal()):
        stdout = io.StringIO()
        with pytest.raises(CommandError) as caught:
            call_command(clearsessions.Command(), *options, "--json", stdout=stdout, stderr=stderr)
        assert str(caught.value) == (
            "The server did not answer (ConnectionLost). "
            f"{'Nothing was counted' if options else 'Removed nothing until then'}; "
            "run the command again."
        )
        told = json.loads(stdout.getvalue())
        assert (told["complete"], told["stopped_by"]) == (None if options else False, "outage")
        assert told["dry_run"] is bool(options)
        assert told["expired"] is None
