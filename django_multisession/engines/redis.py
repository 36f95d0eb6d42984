"""Sessions in Redis."""

from __future__ import annotations

from django.core.cache import caches

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Driver
from django_multisession.engine import Engine, Keys
from django_multisession.settings.rules.options import address_as_alias
from django_multisession.store import DriverSessionStore

__all__ = ["SessionStore"]

_SETTING = "MULTISESSION_REDIS"
_EXAMPLE = f'{_SETTING} = {{"URL": "redis://127.0.0.1:6379/0"}}'


def _open(options: SecretOptions) -> Driver:
    from django_multisession.drivers.redis.driver import RedisDriver

    return RedisDriver(options)


class SessionStore(DriverSessionStore):
    """A session in Redis."""

    engine = Engine(
        name="Redis",
        open=_open,
        setting=_SETTING,
        keys=Keys(
            one_of=("CACHE_ALIAS", "URL"),
            others=("KEY_PREFIX",),
            renamed={"ALIAS": "CACHE_ALIAS", "PREFIX": "KEY_PREFIX"},
        ),
        judge=lambda options: address_as_alias(
            _SETTING, options.get("CACHE_ALIAS"), caches.settings, _EXAMPLE
        ),
        reopens_on=("CACHES",),
        install="django-multisession[redis]",
        example=_EXAMPLE,
        is_indexed=True,
    )
