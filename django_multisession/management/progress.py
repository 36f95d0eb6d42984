"""What a command that runs long shows, and what stops it between two batches."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol, Self, TypeVar

from django.core.management.base import OutputWrapper
from tqdm import tqdm

#: A log gets a line so often; a run that is over before gets none but the last.
LINE_SECONDS = 60

#: What a shell adds to the number of the signal that ended a program.
SIGNALLED = 128


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM, for an end after the batch under way.

    A second one acts as it would have without us.
    """

    def __init__(self) -> None:
        self._first: str | None = None
        self._previous: dict[int, Any] = {}

    def first(self) -> str | None:
        """Return the name of the signal that came, if one did."""
        return self._first

    def __enter__(self) -> Self:
        # call_command() may run in any thread; only the main one gets signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # Ignored by the parent (nohup, a shell's background): it stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._first = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        previous, self._previous = self._previous, {}
        for number, handler in previous.items():
            signal.signal(number, handler)


class Plain:
    """Django's stream for errors, as a file that adds neither colours nor line ends."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write *text* as it is."""
        self._stream.write(text, str, "")

    def flush(self) -> None:
        """Write what is held back."""
        self._stream.flush()


class Progress(Protocol):
    """How far a command has come."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    @property
    def is_complete(self) -> bool:
        """Is nothing left to do?"""

    @property
    def stopped_by(self) -> str | None:
        """What ended it before."""


Tally = TypeVar("Tally", bound=Progress)


def with_bar(
    tallies: Iterator[Tally],
    stream: OutputWrapper,
    done: Callable[[Tally], int],
    total: int | None = None,
) -> Iterator[Tally]:
    """Yield *tallies*, and show a bar of the sessions that each has *done*."""
    with tqdm(total=total, unit=" sessions", file=Plain(stream), leave=False) as bar:
        for tally in tallies:
            bar.update(done(tally) - bar.n)
            yield tally


def with_lines(
    tallies: Iterator[Tally], stream: OutputWrapper, line: Callable[[Tally], str]
) -> Iterator[Tally]:
    """Yield *tallies*, and write the *line* of one every `LINE_SECONDS`, but for the last."""
    told_at = 0.0
    for tally in tallies:
        is_over = tally.is_complete or tally.stopped_by is not None
        if not is_over and tally.seconds - told_at >= LINE_SECONDS:
            told_at = tally.seconds
            stream.write(line(tally))
        yield tally


def stopwatch() -> Callable[[], float]:
    """Return a function of the seconds since now, by a clock that can't be set back."""
    started = time.monotonic()
    return lambda: time.monotonic() - started
