"""Sessions in memcached."""

from __future__ import annotations

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import LISTED_IN, Engine, Keys, machine_clock, open_listing
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.listed.driver import StoredListedDriver
    from django_multisession.drivers.memcached.driver import MemcachedDriver

    own = {name: value for name, value in options.items() if name != LISTED_IN.name}
    driver = MemcachedDriver(SecretOptions(own), machine_clock)
    listing = open_listing(options)
    return driver if listing is None else StoredListedDriver(driver, listing)


class SessionStore(DriverSessionStore):
    """A session in memcached."""

    engine = Engine(
        name="memcached",
        open=_open,
        setting="MULTISESSION_MEMCACHED",
        keys=Keys(one_of=("SERVERS",), others=("KEY_PREFIX", "MAX_ITEM_SIZE", "LISTED_IN")),
        engine_options=(LISTED_IN,),
        install="django-multisession[memcached]",
        example='MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:11211"]}',
    )
