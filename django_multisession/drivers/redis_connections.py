"""Where Redis is and how it is spoken to: from a URL or a django-redis alias to pools of our own.

A pool of our own, because an alias's may retry (redis-py sends an EVALSHA up to ten times, and then
a conditional save conflicts with itself), decode, wait for ever, or grow without bound; and because
django-redis has no async one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from django.core.cache import InvalidCacheBackendError, caches
from django.core.exceptions import ImproperlyConfigured

from django_multisession.drivers.addresses import told_of

try:
    import redis.asyncio
    import redis.asyncio.retry
    import redis.asyncio.sentinel
    import redis.backoff
    import redis.connection
    import redis.exceptions
    import redis.retry
    import redis.sentinel

    # They import redis too.
    from django_multisession.drivers.redis_pools import AsyncPool, Pool
    from django_multisession.drivers.redis_sentinel import (
        AsyncSentinelPool,
        SentinelPool,
        Service,
    )
except ImportError as error:
    raise ImproperlyConfigured("Install django-multisession[redis] to use this engine.") from error

RedisError = redis.RedisError
ResponseError = redis.ResponseError
NoScriptError = redis.exceptions.NoScriptError
#: The server, or the way to it, is gone: also the base of `NOT_WORTH_A_RETRY`.
ConnectionLost = redis.ConnectionError
#: Said by a server that answers, or after asking every Sentinel: a second try hears the same.
NOT_WORTH_A_RETRY = (
    redis.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.BusyLoadingError,
    redis.sentinel.MasterNotFoundError,
    redis.asyncio.sentinel.MasterNotFoundError,
)

#: What a cache of django-redis says it is.
_BACKEND = "django_redis.cache.RedisCache"

#: Seconds for connecting, for an answer, and for a connection of the pool to become free.
DEFAULT_TIMEOUT = 2.0
DEFAULT_MAX_CONNECTIONS = 50

#: Sync class of connection → async one; subclasses before their bases.
_ASYNC_CLASSES: tuple[tuple[type, type], ...] = (
    (
        redis.sentinel.SentinelManagedSSLConnection,
        redis.asyncio.sentinel.SentinelManagedSSLConnection,
    ),
    (redis.sentinel.SentinelManagedConnection, redis.asyncio.sentinel.SentinelManagedConnection),
    (redis.connection.SSLConnection, redis.asyncio.SSLConnection),
    (redis.connection.UnixDomainSocketConnection, redis.asyncio.UnixDomainSocketConnection),
    (redis.connection.Connection, redis.asyncio.Connection),
)

#: What a redis-py pool puts among its connections' options for its own use, by prefix.
_PLUMBING = (
    "connection_pool",
    "event_dispatcher",
    "himport_registry",
    "maint",
    "orig_",
    "oss_cluster",
)

#: Options that would break a promise of the driver, whatever an alias or a URL says.
_FORCED: Mapping[str, Any] = {
    # One retry, with the same revision, is the driver's; it knows what may be sent again.
    "retry_on_timeout": False,
    "retry_on_error": (),
    # Payloads are bytes.
    "decode_responses": False,
    "encoding": "utf-8",
    # Its PING would be a second round trip.
    "health_check_interval": 0,
    # With RESP3, redis-py no longer looks whether a pooled connection still holds the answer to a
    # cancelled request (CVE-2023-28858), because a notification would look the same.
    "protocol": 2,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """redis-py's classes for one of its two worlds; they have hardly any types."""

    client: Any
    pool: Any
    sentinel: Any
    sentinel_pool: Any
    retry: Any


_SYNC = _Kind(
    client=redis.Redis,
    pool=Pool,
    sentinel=redis.sentinel.Sentinel,
    sentinel_pool=SentinelPool,
    retry=redis.retry.Retry,
)
_ASYNC = _Kind(
    client=redis.asyncio.Redis,
    pool=AsyncPool,
    sentinel=redis.asyncio.sentinel.Sentinel,
    sentinel_pool=AsyncSentinelPool,
    retry=redis.asyncio.retry.Retry,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """How to reach Redis: derived once, good for any number of sync and async clients.

    Attributes:
        connection_class: redis-py's sync class of connection.
        options: Its keyword arguments, and the async one's.
        max_connections: How many a pool opens at most.
        pool_timeout: Seconds to wait for a free one.
        service: The Sentinels to ask, or None.
    """

    connection_class: type
    options: Mapping[str, Any] = dataclasses.field(repr=False)
    max_connections: int
    pool_timeout: float | None
    service: Service | None

    def open_client(self) -> Any:
        """Return a ``redis.Redis`` with a pool of its own; does no I/O."""
        return self._open(_SYNC, self.connection_class, self.options)

    def open_async_client(self) -> Any:
        """Return a ``redis.asyncio.Redis`` with a pool of its own; does no I/O."""
        # An alias has the sync parser; redis-py finds the best async one by itself.
        options = {name: value for name, value in self.options.items() if name != "parser_class"}
        return self._open(_ASYNC, _async_class(self.connection_class), options)

    def _open(self, kind: _Kind, connection_class: type, options: Mapping[str, Any]) -> Any:
        retry = kind.retry(redis.backoff.NoBackoff(), 0)
        pool_options = {
            **options,
            "retry": retry,
            "connection_class": connection_class,
            "max_connections": self.max_connections,
            "timeout": self.pool_timeout,
        }
        if self.service is None:
            return kind.client.from_pool(kind.pool(**pool_options))
        sentinel = kind.sentinel(
            self.service.addresses,
            min_other_sentinels=self.service.quorum,
            sentinel_kwargs={**self.service.options, "retry": retry},
        )
        return kind.client.from_pool(
            kind.sentinel_pool(self.service.name, sentinel, **pool_options)
        )


def connections(options: Mapping[str, Any]) -> Connections:
    """Return how to reach the Redis that *options* (``MULTISESSION_REDIS``) name; does no I/O.

    Raises:
        ImproperlyConfigured: They name none, or hold something that redis-py does not take.
    """
    given = {name: value for name, value in options.items() if name not in {"ALIAS", "URL"}}
    if "URL" in options:
        found, service = _from_url(options["URL"]), None
    else:
        found, service = _from_alias(options.get("ALIAS", "default"))
    found = {**found, **given, **_FORCED}
    for name in ("socket_timeout", "socket_connect_timeout"):
        if found.get(name) is None:
            found[name] = DEFAULT_TIMEOUT
    made = Connections(
        connection_class=found.pop("connection_class", redis.Connection),
        max_connections=found.pop("max_connections", None) or DEFAULT_MAX_CONNECTIONS,
        pool_timeout=found.pop("timeout", DEFAULT_TIMEOUT),
        options=found,
        service=service,
    )
    _require_accepted(made)
    return made


def close_client(client: Any) -> None:
    """Close what `Connections.open_client` opened."""
    client.close()
    sentinel = getattr(client.connection_pool, "sentinel_manager", None)
    for asked in sentinel.sentinels if sentinel else ():
        asked.close()


async def aclose_client(client: Any) -> None:
    """See close_client()."""
    await client.aclose()
    sentinel = getattr(client.connection_pool, "sentinel_manager", None)
    for asked in sentinel.sentinels if sentinel else ():
        await asked.aclose()


def _from_url(url: str) -> dict[str, Any]:
    parse_url: Any = redis.connection.parse_url
    try:
        return dict(parse_url(url))
    except (ValueError, AttributeError, TypeError):
        # The reason may quote the URL, and that holds the password.
        raise ImproperlyConfigured(
            'MULTISESSION_REDIS["URL"] must be a redis://, rediss:// or unix:// URL '
            f"(got {told_of(url)})."
        ) from None


def _from_alias(alias: str) -> tuple[dict[str, Any], Service | None]:
    try:
        from django_redis import get_redis_connection
    except ImportError as error:
        raise ImproperlyConfigured(
            "Install django-multisession[redis] to use this engine."
        ) from error
    try:
        get_redis_connection(alias)
        cache: Any = caches[alias]
        factory = cache.client.connection_factory
        # The first server is the one for writing: a replica may not have heard of the last save. Not
        # that connection's pool: django-redis keeps pools by URL, and another alias's password or
        # Sentinels may be in it.
        pool = factory.get_connection_pool(factory.make_connection_params(cache.client._server[0]))  # noqa: SLF001  (it has no public name)
        problem = None
    except Exception as error:  # noqa: BLE001  (whatever django-redis raises at wrong CACHES)
        problem = _problem_of(alias, error)
    if problem is not None:
        raise ImproperlyConfigured(
            f'MULTISESSION_REDIS["ALIAS"] must name a django-redis cache (got {alias!r}: {problem}).'
        )
    found = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(_PLUMBING)
    }
    found["connection_class"] = pool.connection_class
    found["max_connections"] = min(pool.max_connections, DEFAULT_MAX_CONNECTIONS)
    manager = getattr(pool, "sentinel_manager", None)
    return found, None if manager is None else Service.of(
        pool.service_name, manager, DEFAULT_TIMEOUT
    )


def _problem_of(alias: object, error: Exception) -> str:
    """Return what is wrong with the cache *alias*, and not the text of *error*.

    That may quote a LOCATION, and so a password.
    """
    cache = caches.settings.get(alias) if isinstance(alias, str) else None
    if cache is None:
        return f"CACHES has no {alias!r}"
    backend = cache.get("BACKEND")
    if backend != _BACKEND and isinstance(error, NotImplementedError | InvalidCacheBackendError):
        return f"its BACKEND is {backend!r} and must be {_BACKEND!r}"
    return type(error).__name__


def _async_class(connection_class: type) -> type:
    for sync_class, async_class in _ASYNC_CLASSES:
        if issubclass(connection_class, sync_class):
            return async_class
    raise ImproperlyConfigured(
        "MULTISESSION_REDIS must use one of redis-py's classes of connection, or a subclass "
        f"(got {connection_class.__name__})."
    )


def _require_accepted(made: Connections) -> None:
    """Make one connection of each kind, without connecting: a typo shows now and not in a request."""
    for open_client in (made.open_client, made.open_async_client):
        try:
            open_client().connection_pool.make_connection()
        except (TypeError, ValueError, redis.RedisError) as error:
            # Only a TypeError is known to name the option and not its value.
            reason = str(error) if isinstance(error, TypeError) else type(error).__name__
            raise ImproperlyConfigured(
                "MULTISESSION_REDIS must hold options that redis-py's connections take, sync and "
                f"async (got {reason})."
            ) from None
