"""Ends a thread at the n-th line that it runs in redis-py, as a signal handler that raises does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis

PACKAGE = redis.__file__.rpartition("/")[0]


class ThreadEnd(BaseException):
    """What ends it; nobody may take it for an error of the server."""


class Interrupted:
    """Runs *do* in a thread of its own that ends at the *line*-th line after it has sent a command.

    Args:
        do: What.
        line: Where, from 0; lines of redis-py only.
        is_from_the_start: Count from the beginning instead.
    """

    def __init__(
        self, do: Callable[[], Any], line: int, *, is_from_the_start: bool = False
    ) -> None:
        self._do, self._left, self._counts = do, line, is_from_the_start
        self.was_interrupted = False
        #: Did it begin to wait for an answer before that?
        self.has_waited = False

    def run(self) -> None:
        """Return when the thread has ended."""
        thread = threading.Thread(target=self._run)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()

    def _run(self) -> None:
        sys.settrace(self._enter)
        try:
            self._do()
        except ThreadEnd:
            self.was_interrupted = True
        except Exception:  # noqa: BLE001  (it was not interrupted, and this is not looked at)
            pass
        finally:
            sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        # Python's parser of redis-py calls it so, and the one in C.
        if self._counts and frame.f_code.co_name.endswith("read_from_socket"):
            self.has_waited = True
        is_theirs = frame.f_code.co_filename.startswith(PACKAGE)
        # What is raised while garbage is collected goes nowhere.
        return self._step if is_theirs and not _is_collecting(frame) else None

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if self._counts and event == "line":
            self._left -= 1
            if self._left < 0 and not self.was_interrupted:
                self.was_interrupted = True
                raise ThreadEnd
        if event == "return" and frame.f_code.co_name == "send_packed_command":
            self._counts = True
        return self._step


def _is_collecting(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
