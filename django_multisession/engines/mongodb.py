"""Sessions in MongoDB."""

from __future__ import annotations

import time

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]

_imported_at = time.time()


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.mongodb.driver import MongoDBDriver

    return MongoDBDriver(options, _machine_clock)


def _machine_clock() -> float:
    # A test may freeze the clock years ago. The server's TTL monitor would collect what it stores.
    return max(time.time(), _imported_at)


class SessionStore(DriverSessionStore):
    """A session in MongoDB."""

    engine = Engine(
        name="MongoDB",
        open=_open,
        setting="MULTISESSION_MONGODB",
        keys=Keys(one_of=("URI",), others=("DATABASE", "COLLECTION")),
        install="django-multisession[mongodb]",
        example='MULTISESSION_MONGODB = {"URI": "mongodb://127.0.0.1:27017"}',
    )
