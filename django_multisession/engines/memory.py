"""Sessions in this process's memory: for development and tests."""

from __future__ import annotations

from django.utils import timezone

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


def _open(_options: SecretOptions) -> Driver:
    from django_multisession.drivers.memory import MemoryDriver

    # The site's clock: where tests drive it, or an operator sets it back, a tombstone's minute
    # passes with it.
    return MemoryDriver(server_clock=lambda: timezone.now().timestamp())


class SessionStore(DriverSessionStore):
    """A session in this process's memory: for development and tests."""

    engine = Engine(name="memory", open=_open, is_shared=False, is_indexed=True)
