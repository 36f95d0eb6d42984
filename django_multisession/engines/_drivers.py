"""One driver per kind of server and process, made at first use from the settings."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils import timezone

from django_multisession.conf import options_of
from django_multisession.core.locks import ForkSafeLock
from django_multisession.drivers.base import Driver
from django_multisession.setting_reader import OURS

_lock = ForkSafeLock()
_drivers: dict[str, Driver] = {}
_imported_at = time.time()


def _open_memory() -> Driver:
    from django_multisession.drivers.memory import MemoryDriver

    # The site's clock: where tests drive it, or an operator sets it back, a tombstone's minute
    # passes with it.
    return MemoryDriver(server_clock=lambda: timezone.now().timestamp())


def _open_mongodb() -> Driver:
    from django_multisession.drivers.mongodb.driver import MongoDBDriver

    return MongoDBDriver(options_of("mongodb"), _machine_clock)


def _machine_clock() -> float:
    # A test may freeze the clock years ago; the server's TTL monitor would collect what it stores.
    return max(time.time(), _imported_at)


def _open_redis() -> Driver:
    from django_multisession.drivers.redis.driver import RedisDriver

    return RedisDriver(options_of("redis"))


_OPENERS: dict[str, Callable[[], Driver]] = {
    "memory": _open_memory,
    "mongodb": _open_mongodb,
    "redis": _open_redis,
}
#: The engines that have a driver.
ENGINES = tuple(_OPENERS)

#: Which driver a setting makes anew when a test overrides it.
_SETTINGS = {"MULTISESSION_MONGODB": "mongodb", "MULTISESSION_REDIS": "redis", "CACHES": "redis"}


def driver_of(engine: str) -> Driver:
    """Return the driver of *engine* (``"redis"``), the same one for every thread of the process."""
    driver = _drivers.get(engine)
    if driver is None:
        with _lock:
            driver = _drivers.get(engine)
            if driver is None:
                driver = _drivers[engine] = _open(engine)
    return driver


def _open(engine: str) -> Driver:
    try:
        return _OPENERS[engine]()
    except ImproperlyConfigured as error:
        problem, cause = str(error), error.__cause__
    except Exception as error:  # noqa: BLE001  (whatever a client library raises at wrong options)
        setting, cause = f"{OURS}{engine.upper()}", None
        problem = f"{setting} must hold options that its client takes (got {type(error).__name__})."
    # Raised out here: the frames behind the error hold the options, a password among them.
    raise ImproperlyConfigured(problem) from (cause if isinstance(cause, ImportError) else None)


def close_drivers() -> None:
    """Close every driver of this process; the next use opens a new one."""
    with _lock:
        drivers = list(_drivers.values())
        _drivers.clear()
    for driver in drivers:
        driver.close()


def _close_changed(*, setting: str, **_kwargs: Any) -> None:
    with _lock:
        driver = _drivers.pop(_SETTINGS.get(setting, ""), None)
    if driver is not None:
        driver.close()


# PyMongo warns of a client that the interpreter's end finds open.
atexit.register(close_drivers)
setting_changed.connect(_close_changed, dispatch_uid="django_multisession.engines")
