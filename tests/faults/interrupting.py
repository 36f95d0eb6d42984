"""Ends a thread at the n-th line that it runs in a client library, as a signal handler would."""

from __future__ import annotations

import dataclasses
import dis
import functools
import gc
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


class ThreadEnd(BaseException):
    """What ends it; nobody may take it for an error of the server."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Whose lines are counted.

    Args:
        package: The directory of its code.
        sends: How the name of the function ends that sends a command and returns.
        waits: How the name of the one ends that waits for an answer.
    """

    package: str
    sends: str
    waits: str


class Interrupted:
    """Runs *do* in a thread of its own that ends at the *line*-th line after it has sent a command.

    Args:
        library: Only lines of its code count.
        do: What.
        line: Where, from 0.
        is_from_the_start: Count from the beginning instead.
    """

    def __init__(
        self,
        library: Library,
        do: Callable[[], Any],
        line: int,
        *,
        is_from_the_start: bool = False,
    ) -> None:
        self._library = library
        self._do, self._left, self._counts = do, line, is_from_the_start
        self.was_interrupted = False
        #: Did it begin to wait for an answer before that?
        self.has_waited = False

    def run(self) -> None:
        """Return when the thread has ended."""
        thread = threading.Thread(target=self._run)
        # What is raised while garbage is collected goes nowhere.
        gc.disable()
        try:
            thread.start()
            thread.join(60)
        finally:
            gc.enable()
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
        if self._counts and frame.f_code.co_name.endswith(self._library.waits):
            self.has_waited = True
        is_theirs = frame.f_code.co_filename.startswith(self._library.package)
        # Nor does what is raised while the last reference to something goes.
        return self._step if is_theirs and not _is_collecting(frame) else None

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if self._counts and event == "line" and frame.f_lasti not in _quiet(frame.f_code):
            self._left -= 1
            if self._left < 0 and not self.was_interrupted:
                self.was_interrupted = True
                raise ThreadEnd
        if event == "return" and frame.f_code.co_name.endswith(self._library.sends):
            self._counts = True
        return self._step


@functools.cache
def _quiet(code: CodeType) -> frozenset[int]:
    """Return where lines of *code* begin at which a signal handler raises nothing, unlike a tracer.

    These are a ``try:``, a jump back, and the way out of a ``with``, between the end of its block
    and the lock that it lets go. What a tracer raises there passes by what surrounds it (at a jump
    back in Python 3.13), and the lock is held for ever; no signal had that effect.
    """
    quiet, entered = set(), set()
    for instruction in dis.get_instructions(code):
        line = instruction.positions and instruction.positions.lineno
        name = instruction.opname
        # The second since Python 3.14.
        if name == "BEFORE_WITH" or instruction.argrepr == "__enter__":
            entered.add(line)
        elif name == "NOP" or name.startswith("JUMP_BACKWARD") or line in entered:
            quiet.add(instruction.offset)
    return frozenset(quiet)


def _is_collecting(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
