"""Lines of a log that are written at a bounded rate, however often there is a reason for one."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from typing import Final, NamedTuple

from django_multisession.core.locks import ForkSafeLock


class Limit(NamedTuple):
    """How many lines of a kind each process writes in so many seconds.

    Attributes:
        is_counted: Does a further line report how many were left out, before the next one?
    """

    lines: int
    seconds: float
    is_counted: bool = False


ONCE: Final = Limit(1, math.inf)
ONCE_A_MINUTE: Final = Limit(1, 60)
#: An end follows each beginning of an outage, as often as a server hesitates.
TEN_A_MINUTE: Final = Limit(10, 60)
#: Anyone can send forged keys, and a writer in the store can spoil every record.
SIXTY_A_MINUTE: Final = Limit(60, 60, is_counted=True)


class LineCounter:
    """Counts what was written of each kind of line. Thread-safe."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._windows: dict[str, tuple[float, int]] = {}

    def clear(self) -> None:
        """Start again with every kind of line."""
        with self._lock:
            self._windows.clear()

    def admit(self, line: str, limit: Limit, now: float) -> int | None:
        """Return how many were left out since the last *line*, or None if this one is too.

        Args:
            line: What all lines of the kind have in common.
            limit: Of the kind.
            now: By a clock that is never set.
        """
        with self._lock:
            since, count = self._windows.get(line, (now, 0))
            left_out = 0
            if now - since >= limit.seconds:
                left_out = max(count - limit.lines, 0)
                since, count = now, 0
            self._windows[line] = since, count + 1
            return left_out if count < limit.lines else None


#: Of this process.
counter: Final = LineCounter()


#: Written before a line whose limit was reached.
LEFT_OUT: Final = "Lines like the next one that were left out: %d."


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One kind of line; *text* is filled with what it is written with."""

    logger: logging.Logger
    level: int
    text: str
    limit: Limit | None = None

    def write(self, *arguments: object) -> None:
        """Write the line, unless its limit is reached."""
        if self.limit is not None:
            left_out = counter.admit(self.text, self.limit, time.monotonic())
            if left_out is None:
                return
            if left_out and self.limit.is_counted:
                self.logger.log(self.level, LEFT_OUT, left_out)
        self.logger.log(self.level, self.text, *arguments)
