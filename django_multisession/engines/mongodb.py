"""Sessions in MongoDB."""

from __future__ import annotations

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys, machine_clock
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.mongodb.driver import MongoDBDriver

    return MongoDBDriver(options, machine_clock)


class SessionStore(DriverSessionStore):
    """A session in MongoDB."""

    engine = Engine(
        name="MongoDB",
        open=_open,
        setting="MULTISESSION_MONGODB",
        keys=Keys(one_of=("URI",), others=("DATABASE", "COLLECTION")),
        install="django-multisession[mongodb]",
        example='MULTISESSION_MONGODB = {"URI": "mongodb://127.0.0.1:27017"}',
        is_indexed=True,
    )
