"""Steps run against the engine's driver, and what happened in them told to who listens."""

from __future__ import annotations

import asyncio

from django_multisession import conversation
from django_multisession.conversation import Result, Steps
from django_multisession.drivers.base import Driver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.responding import Responding


class Running(Responding):
    """A session that knows its driver."""

    @classmethod
    def get_driver(cls) -> Driver:
        """Return the driver that keeps this engine's records."""
        raise NotImplementedError("subclasses of DriverSessionStore must provide get_driver()")

    def _hold(self, steps: Steps[Result]) -> Result:
        try:
            return conversation.hold(steps, self.get_driver(), self._hear)
        except StoreUnavailable:
            self.has_met_outage = True
            raise
        finally:
            self._tell()

    async def _ahold(self, steps: Steps[Result]) -> Result:
        try:
            return await conversation.ahold(steps, self.get_driver(), self._hear)
        except StoreUnavailable:
            self.has_met_outage = True
            raise
        finally:
            await self._atell()

    def _tell(self) -> None:
        """Send the signals of what happened; in an event loop they wait for the next a-verb."""
        if self._events and not _is_in_event_loop():
            happened, self._events = self._events, []
            for event in happened:
                event.signal.send_robust(type(self), **event.arguments)

    async def _atell(self) -> None:
        """See _tell()."""
        if self._events:
            happened, self._events = self._events, []
            for event in happened:
                await event.signal.asend_robust(type(self), **event.arguments)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
