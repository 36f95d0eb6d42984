"""Where Redis is and what its connections need: from a URL or the alias of a cache, and options.

Options have redis-py's names. Not an alias's own pool: that may retry (and then a conditional save
conflicts with itself), decode, wait without end, or grow without bound.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.redis import RedisCache
from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.addresses import told_of

try:
    import redis.connection

    # They import redis and hiredis.
    from django_multisession.drivers.redis.protocol import Address
    from django_multisession.drivers.redis.sentinel import Service
except ImportError as error:
    raise ImproperlyConfigured("Install django-multisession[redis] to use this engine.") from error

#: Which caches an alias may name: a subclass of one is as good.
_BACKENDS = "django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"

#: Seconds for connecting, for an answer, and for a connection to become free.
DEFAULT_TIMEOUT = 2.0
DEFAULT_MAX_CONNECTIONS = 50

#: What a redis-py pool puts among its connections' options for its own use, by prefix.
_PLUMBING = (
    "connection_pool",
    "event_dispatcher",
    "himport_registry",
    "maint",
    "orig_",
    "oss_cluster",
)

_FLAGS: Final[Mapping[str, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where sessions are, and how many connections lead there.

    Attributes:
        address: Of the server. Behind Sentinels its host is the name of the service.
        most: How many connections may be open.
        patience: Seconds to wait for a free one, or None for no end.
        service: The Sentinels to ask, or None.
    """

    address: Address
    most: int
    patience: float | None
    service: Service | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the options name, by redis-py's names.

    Attributes:
        options: Those of a connection and of a pool.
        connection_class: redis-py's class of connection.
        service: The Sentinels to ask, or None.
    """

    options: SecretOptions
    connection_class: type
    service: Service | None


def located(options: Mapping[str, Any]) -> Found:
    """Return what *options* (``MULTISESSION_REDIS``) name; does no I/O.

    Raises:
        ImproperlyConfigured: They name nothing.
    """
    given = {name: value for name, value in options.items() if name not in {"CACHE_ALIAS", "URL"}}
    if "URL" in options:
        found, service = _from_url(options["URL"]), None
    else:
        found, service = _from_alias(options.get("CACHE_ALIAS", "default"))
    connection_class = found.pop("connection_class", redis.Connection)
    return Found(
        options=SecretOptions({**found, **given}),
        connection_class=connection_class,
        service=service,
    )


def endpoint_of(found: Found) -> Endpoint:
    """Return the endpoint that was found.

    Raises:
        ImproperlyConfigured: An option is unknown, or its value is wrong.
    """
    has_tls = issubclass(found.connection_class, redis.SSLConnection)
    _require_known(found.options, has_tls=has_tls)
    read = _Reader(found.options)
    service = found.service
    address = Address(
        host=read("host", _text, "localhost") if service is None else service.name,
        port=read("port", int, 6379) if service is None else 0,
        path=read("path", _text, None) or None,
        database=read("db", _number_or_none, 0) or 0,
        credentials=_credentials(found.options),
        client_name=read("client_name", _text, None),
        timeout=read("socket_timeout", _seconds, None) or DEFAULT_TIMEOUT,
        connect_timeout=read("socket_connect_timeout", _seconds, None) or DEFAULT_TIMEOUT,
        keepalive=(
            read("socket_keepalive_options", _socket_options, None) or {}
            if read("socket_keepalive", bool, True)
            else None
        ),
        tls=_tls(found.options, read) if has_tls else None,
    )
    most = read("max_connections", _count, None) or DEFAULT_MAX_CONNECTIONS
    patience = read("timeout", _seconds, DEFAULT_TIMEOUT)
    return Endpoint(address=address, most=most, patience=patience, service=service)


class _Reader:
    """Reads one option after the other; of a wrong one it tells the name."""

    def __init__(self, options: SecretOptions) -> None:
        self._options = options

    def __call__(self, name: str, read: Callable[[Any], Any], default: Any) -> Any:
        if name not in self._options:
            return default
        try:
            return read(self._options[name])
        except (TypeError, ValueError, LookupError):
            pass
        # Out here: the error behind it may quote the value.
        raise _wrong(f"a wrong value of {name}")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError


def _number_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


def _count(value: Any) -> int | None:
    if value is not None and int(value) < 1:
        raise ValueError
    return _number_or_none(value)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or float(value) <= 0:
        raise ValueError
    return float(value)


def _socket_options(value: Any) -> dict[int, int]:
    return {int(option): int(setting) for option, setting in dict(value or {}).items()}


def _verify_mode(value: Any) -> ssl.VerifyMode:
    if value is None:
        return ssl.CERT_NONE
    return _FLAGS[value] if isinstance(value, str) else ssl.VerifyMode(value)


def _tls_version(value: Any) -> ssl.TLSVersion | None:
    if value is None:
        return None
    return ssl.TLSVersion[value] if isinstance(value, str) else ssl.TLSVersion(value)


def _verify_flags(value: Any) -> list[ssl.VerifyFlags]:
    return [ssl.VerifyFlags(flag) for flag in value or ()]


def _no_ocsp(value: Any) -> None:
    # To check less than the site asks for would be worse than not to start.
    if value:
        raise ValueError


def _as_it_is(value: Any) -> Any:
    return value


def _credentials(options: SecretOptions) -> Callable[[], tuple[str, ...]] | None:
    provider = options.get("credential_provider")
    if provider is not None:
        return lambda: tuple(provider.get_credentials())
    if not (options.get("username") or options.get("password")):
        return None
    for name in ("username", "password"):
        if not isinstance(options.get(name), str | bytes | None):
            raise _wrong(f"a wrong value of {name}")

    def credentials() -> tuple[str, ...]:
        password = (options.get("password") or "",)
        return (options["username"], *password) if options.get("username") else password

    return credentials


def _tls(options: SecretOptions, read: _Reader) -> Callable[[], ssl.SSLContext]:
    """Return what makes the context: once, at the first connection."""
    verify_mode = read("ssl_cert_reqs", _verify_mode, ssl.CERT_REQUIRED)
    checks_hostname = read("ssl_check_hostname", bool, True) and verify_mode != ssl.CERT_NONE
    minimum = read("ssl_min_version", _tls_version, None)
    included = read("ssl_include_verify_flags", _verify_flags, [])
    excluded = read("ssl_exclude_verify_flags", _verify_flags, [])
    for name in _OCSP:
        read(name, _no_ocsp, None)
    files = {name: read(name, _text, None) for name in _TLS_FILES}
    ca_data = read("ssl_ca_data", _as_it_is, None)

    @functools.cache
    def context() -> ssl.SSLContext:
        made = ssl.create_default_context()
        made.check_hostname = checks_hostname
        made.verify_mode = verify_mode
        for flag in included:
            made.verify_flags |= flag
        for flag in excluded:
            made.verify_flags &= ~flag
        if files["ssl_certfile"]:
            made.load_cert_chain(
                files["ssl_certfile"], files["ssl_keyfile"], options.get("ssl_password")
            )
        if files["ssl_ca_certs"] or files["ssl_ca_path"] or ca_data:
            made.load_verify_locations(files["ssl_ca_certs"], files["ssl_ca_path"], ca_data)
        if minimum is not None:
            made.minimum_version = minimum
        if files["ssl_ciphers"]:
            made.set_ciphers(files["ssl_ciphers"])
        return made

    return context


_TLS_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_ciphers", "ssl_keyfile")
_OCSP = (
    "ssl_ocsp_context",
    "ssl_ocsp_expected_cert",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
)
_TLS_OPTIONS = frozenset(
    {
        "ssl_ca_data",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "ssl_exclude_verify_flags",
        "ssl_include_verify_flags",
        "ssl_min_version",
        "ssl_password",
        *_OCSP,
        *_TLS_FILES,
    }
)
_USED = frozenset(
    {
        "client_name",
        "credential_provider",
        "db",
        "host",
        "max_connections",
        "password",
        "path",
        "port",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_timeout",
        "timeout",
        "username",
    }
)
#: How redis-py speaks, which is not how this engine does: its own retries, encodings, names.
_UNUSED = frozenset(
    {
        "command_packer",
        "decode_responses",
        "driver_info",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "legacy_responses",
        "lib_name",
        "lib_version",
        "parser_class",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_read_size",
        "socket_type",
    }
)


def _require_known(options: SecretOptions, *, has_tls: bool) -> None:
    known = _USED | _UNUSED | (_TLS_OPTIONS if has_tls else frozenset())
    unknown = [name for name in options if name not in known]
    if not unknown:
        return
    if unknown[0] in _TLS_OPTIONS:
        raise _wrong(f"{unknown[0]} without TLS: is the URL to be rediss://?")
    resembled = difflib.get_close_matches(str(unknown[0]).lower(), known, n=1)
    meant = f": is it {resembled[0]}?" if resembled else ""
    raise _wrong(f"the unknown option {unknown[0]}{meant}")


def _wrong(what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"MULTISESSION_REDIS must hold options of connections, by redis-py's names (got {what})."
    )


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
    problem, cause = None, None
    try:
        pool = _pool_of(alias)
    except Exception as error:  # noqa: BLE001  (whatever a cache raises at wrong CACHES)
        # Django's error about a backend that can't be imported has the reason behind it.
        missing = error if isinstance(error, ImportError) else error.__cause__
        if isinstance(missing, ImportError) and _backend_of(alias) in _BACKENDS:
            cause = missing
        else:
            problem = _problem_of(alias, error)
    if cause is not None:
        raise ImproperlyConfigured(
            "Install django-multisession[redis] to use this engine."
        ) from cause
    if problem is not None:
        raise ImproperlyConfigured(
            'MULTISESSION_REDIS["CACHE_ALIAS"] must name a cache on Redis '
            f"(got {alias!r}: {problem})."
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


def _pool_of(alias: str) -> Any:
    """Return a pool whose options are those of the cache *alias*, of its server for writing.

    A replica may not have heard of the last save.
    """
    cache: Any = caches[alias]
    if isinstance(cache, RedisCache):
        return cache._cache.get_client(write=True).connection_pool  # noqa: SLF001  (it has no public name)
    from django_redis import get_redis_connection

    get_redis_connection(alias)
    factory = cache.client.connection_factory
    # Not that connection's pool: django-redis keeps pools by URL, and another alias's password or
    # Sentinels may be in it.
    return factory.get_connection_pool(factory.make_connection_params(cache.client._server[0]))  # noqa: SLF001  (as above)


def _backend_of(alias: object) -> str | None:
    cache = caches.settings.get(alias) if isinstance(alias, str) else None
    return None if cache is None else str(cache.get("BACKEND"))


def _problem_of(alias: object, error: Exception) -> str:
    """Return what is wrong with the cache *alias*, and not the text of *error*.

    That may quote a LOCATION, and so a password.
    """
    backend = _backend_of(alias)
    if backend is None:
        return f"CACHES has no {alias!r}"
    if backend not in _BACKENDS and isinstance(
        error, ImportError | NotImplementedError | InvalidCacheBackendError
    ):
        return f"its BACKEND is {backend!r} and must be {' or '.join(map(repr, _BACKENDS))}"
    return type(error).__name__
