"""Ctrl-C and its like, noted when they come and acted upon between two steps."""

from __future__ import annotations

import signal
from types import FrameType


class Stopped(Exception):  # noqa: N818  (nothing is wrong)
    """Somebody asked for the end."""


class StopSignals:
    """Notes them from when it is made to the end of the process.

    Nothing is ever half begun that way, and a second Ctrl-C does not interrupt the clearing up.
    """

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def heed(self) -> None:
        """Raise `Stopped` if one came."""
        if self._came:
            raise Stopped

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
