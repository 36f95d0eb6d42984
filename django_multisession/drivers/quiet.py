"""A driver that may fail: its outages are answers, and it is left alone for a while after one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from django_multisession.drivers.base import Ask, Driver, Server, Steps
from django_multisession.exceptions import OutageKind, StoreUnavailable

#: For how long a server that did not answer isn't asked.
PATIENCE_MS = 5_000
_A_MINUTE_MS = 60_000

#: What says nothing of whether the server can be reached.
_ANSWERS = frozenset({OutageKind.REFUSED, OutageKind.UNKNOWN_FORMAT})

AnyDriver = TypeVar("AnyDriver", bound=Driver)


class _Quiet(NamedTuple):
    """A server that returns its outages."""

    server: Server

    def send(self, command: Any, /) -> Any:
        """See Server.send()."""
        try:
            return self.server.send(command)
        except StoreUnavailable as error:
            return error

    async def asend(self, command: Any, /) -> Any:
        """See send()."""
        try:
            return await self.server.asend(command)
        except StoreUnavailable as error:
            return error

    def close(self) -> None:
        """See Server.close()."""
        self.server.close()

    async def aclose(self) -> None:
        """See close()."""
        await self.server.aclose()


class Quiet(Generic[AnyDriver]):
    """The verbs of *driver*, whose outages are answers.

    Args:
        driver: What may fail.
        clock: Milliseconds since 1970.
    """

    #: What its commands are called: an answer to one says nothing of the engine's own server.
    verb: ClassVar[str]

    def __init__(self, driver: AnyDriver, clock: Callable[[], int]) -> None:
        self.driver = driver
        self._clock = clock
        self._quiet = _Quiet(driver.server)
        self._failed_ms: int | None = None
        self._logged_ms: int | None = None
        self._is_logged = False

    def is_silent(self, now: int) -> bool:
        """Did it not answer a moment ago?"""
        return self._failed_ms is not None and is_within(PATIENCE_MS, self._failed_ms, now)

    def ask(self, steps: Steps[Any]) -> Steps[Any]:
        """Carry out a verb of the driver; return its answer, or the error where there is none."""
        replies: list[Any] = []  # no name: error pages show what frames hold
        try:
            ask = next(steps)
            while True:
                # Of one server, as a rule: a call less for each.
                is_known = ask.server is self._quiet.server
                quiet = self._quiet if is_known else _Quiet(ask.server)
                replies.append((yield Ask(quiet, self.verb, ask.command)))
                is_error = isinstance(replies[0], StoreUnavailable)
                ask = (steps.throw if is_error else steps.send)(replies.pop())
        except StopIteration as stop:
            if self._failed_ms is not None:
                self._note_answer()
            return stop.value
        except StoreUnavailable as error:
            self._note(error)
            return error

    def _note(self, error: StoreUnavailable) -> None:
        now = self._clock()
        if error.kind not in _ANSWERS:
            self._failed_ms = now
        if self._logged_ms is None or not is_within(_A_MINUTE_MS, self._logged_ms, now):
            self._logged_ms = now
            self._is_logged = self._failed_ms is not None
            self._log(error)

    def _note_answer(self) -> None:
        self._failed_ms = None
        if self._is_logged:
            self._is_logged = False
            self._log_answer()

    def _log(self, error: StoreUnavailable) -> None:
        """Write the line of *error*; it is written once a minute."""
        raise NotImplementedError

    def _log_answer(self) -> None:
        """Write the line of the first answer after an outage that was logged."""
        raise NotImplementedError


def is_within(span_ms: int, began_ms: int, now: int) -> bool:
    """Is it less than *span_ms* since *began_ms*, by a clock that may have been set back?"""
    return 0 <= now - began_ms < span_ms
