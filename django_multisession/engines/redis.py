"""Sessions in Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.cache import caches

from django_multisession.core.problems import Problem
from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys
from django_multisession.settings.check_ids import Check
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]

_EXAMPLE = 'MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:6379/0"}'
#: What stands in addresses, and hardly in the name of a cache.
_IN_ADDRESSES = frozenset(":/@")


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.redis.driver import RedisDriver

    return RedisDriver(options)


def _judge(options: Mapping[str, Any]) -> Iterator[Problem]:
    # The driver quotes an alias that it doesn't find, and an address may hold a password.
    alias = options.get("CACHE_ALIAS")
    if (
        isinstance(alias, str)
        and alias not in caches.settings
        and not _IN_ADDRESSES.isdisjoint(alias)
    ):
        yield Check.ALIAS_IS_ADDRESS.found(
            'MULTISESSION_REDIS["CACHE_ALIAS"] must be the name of a cache in CACHES (got an address).',
            f"Write the address as URL: {_EXAMPLE}",
        )


class SessionStore(DriverSessionStore):
    """A session in Redis."""

    engine = Engine(
        name="Redis",
        open=_open,
        setting="MULTISESSION_REDIS",
        keys=Keys(
            one_of=("CACHE_ALIAS", "URL"),
            others=("KEY_PREFIX",),
            renamed={"ALIAS": "CACHE_ALIAS", "PREFIX": "KEY_PREFIX"},
        ),
        judge=_judge,
        reopens_on=("CACHES",),
        install="django-multisession[redis]",
        example=_EXAMPLE,
        is_indexed=True,
    )
