"""Sessions in memcached."""

from __future__ import annotations

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys, machine_clock
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.memcached.driver import MemcachedDriver

    return MemcachedDriver(options, machine_clock)


class SessionStore(DriverSessionStore):
    """A session in memcached."""

    engine = Engine(
        name="memcached",
        open=_open,
        setting="MULTISESSION_MEMCACHED",
        keys=Keys(one_of=("SERVERS",), others=("KEY_PREFIX", "MAX_ITEM_SIZE")),
        install="django-multisession[memcached]",
        example='MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:11211"]}',
    )
