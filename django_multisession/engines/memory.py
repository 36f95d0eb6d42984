"""Sessions in this process's memory: for development and tests."""

from __future__ import annotations

from django_multisession.drivers.base import Driver
from django_multisession.engines._drivers import driver_of
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


class SessionStore(DriverSessionStore):
    """A session in this process's memory: for development and tests."""

    @classmethod
    def get_driver(cls) -> Driver:
        """See DriverSessionStore.get_driver()."""
        return driver_of("memory")
