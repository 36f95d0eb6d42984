"""Which memcacheds an engine's setting names, and how they are reached; of wrong values little is told."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.addresses import told_of
from django_multisession.drivers.options import flat

_SETTING = "MULTISESSION_MEMCACHED"
DEFAULT_PREFIX = "multisession:"
DEFAULT_PORT = 11211
#: What memcached has for ``-I``, and what it keeps of an item beside the record: its key included.
DEFAULT_ITEM_SIZE = 1024 * 1024
LEAST_ITEM_SIZE = 4096
ITEM_OVERHEAD = 512
#: What memcached takes, less the 32 characters of a storage key.
LONGEST_PREFIX = 250 - 32
#: pymemcache's options that change neither what is stored nor what an error means.
_CLIENT: Final = frozenset({"no_delay", "socket_keepalive", "tls_context"})
_TIMES: Final = frozenset({"connect_timeout", "timeout"})
_LOGIN: Final = frozenset({"username", "password"})
_SECONDS = 2.0

#: Host and port, or the path of a Unix socket: pymemcache's own forms.
Address = tuple[str, int] | str


@dataclasses.dataclass(frozen=True, slots=True)
class Reach:
    """How every memcached of the setting is reached.

    Attributes:
        item_size: Bytes of the largest item that each takes.
        connect_timeout: Seconds that connecting may take.
        timeout: Seconds that a command may take, connecting included.
        client: pymemcache's options.
        login: What a memcached with ``-Y`` takes for a login; empty for none.
    """

    item_size: int
    connect_timeout: float
    timeout: float
    client: Mapping[str, Any] = dataclasses.field(repr=False)
    login: SecretBytes = dataclasses.field(repr=False)


def read(options: Mapping[str, Any]) -> tuple[list[Address], str, Reach]:
    """Return the addresses in *options*, the prefix of keys, and how the servers are reached.

    Raises:
        ImproperlyConfigured: One is wrong.
    """
    rest = dict(flat(options))
    addresses = _addresses(rest.pop("SERVERS", None))
    prefix = _prefix(rest.pop("KEY_PREFIX", DEFAULT_PREFIX))
    item_size = _item_size(rest.pop("MAX_ITEM_SIZE", DEFAULT_ITEM_SIZE))
    unknown = sorted(map(str, rest.keys() - _CLIENT - _TIMES - _LOGIN))
    if unknown:
        known = ", ".join(sorted(_CLIENT | _TIMES))
        raise _wrong('"OPTIONS"', f"among {known}", ", ".join(map(_told_name, unknown)))
    connecting, timeout = _seconds(rest, "connect_timeout"), _seconds(rest, "timeout")
    context = rest.get("tls_context")
    if not isinstance(context, ssl.SSLContext | None):
        raise _wrong('"OPTIONS"', "with an SSLContext as tls_context", type(context).__name__)
    client = {"no_delay": True} | {name: rest[name] for name in _CLIENT & rest.keys()}
    return addresses, prefix, Reach(item_size, connecting, timeout, client, _login(rest))


def name_of(address: Address) -> str:
    """Return *address* as a message and a hash name it."""
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _addresses(servers: object) -> list[Address]:
    if not isinstance(servers, list | tuple) or not servers:
        found = told_of(servers) if isinstance(servers, str | None) else type(servers).__name__
        raise _wrong('"SERVERS"', "a list of addresses", found)
    addresses = [_address(server) for server in servers]
    if len(set(addresses)) < len(addresses):
        raise _wrong('"SERVERS"', "addresses that differ", "one of them twice")
    return addresses


def _address(server: object) -> Address:
    if isinstance(server, str) and server.isascii() and "@" not in server and "//" not in server:
        if (path := server.removeprefix("unix:")).startswith("/"):
            return path
        host, colon, port = server.rpartition(":")
        if not colon or server.endswith("]"):
            host, port = server, str(DEFAULT_PORT)
        is_bracketed = host.startswith("[") and host.endswith("]")
        if host and port.isdecimal() and int(port) < 1 << 16 and (is_bracketed or ":" not in host):
            return host.strip("[]"), int(port)
    raise _wrong('"SERVERS"', "addresses such as 127.0.0.1:11211 or unix:/path", told_of(server))


def _prefix(prefix: object) -> str:
    if not isinstance(prefix, str):
        raise _wrong('"KEY_PREFIX"', "a string", type(prefix).__name__)
    is_fit = prefix.isascii() and prefix.isprintable() and " " not in prefix
    if not is_fit or len(prefix) > LONGEST_PREFIX:
        expected = f"at most {LONGEST_PREFIX} printable ASCII characters without spaces"
        raise _wrong('"KEY_PREFIX"', expected, repr(prefix))
    return prefix


def _item_size(size: object) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < LEAST_ITEM_SIZE:
        expected = f"a number of bytes of at least {LEAST_ITEM_SIZE}"
        raise _wrong('"MAX_ITEM_SIZE"', expected, _told_number(size))
    return size


def _seconds(options: Mapping[str, Any], name: str) -> float:
    value = options.get(name, _SECONDS)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:  # noqa: PLR2004  (eleven days)
        raise _wrong('"OPTIONS"', f"with seconds above 0 as {name}", _told_number(value))
    return float(value)


def _login(options: Mapping[str, Any]) -> SecretBytes:
    if not _LOGIN & options.keys():
        return SecretBytes()
    user, password = options.get("username", ""), options.get("password", "")
    # The text of a login is "user password".
    if not (user and password) or " " in user:
        raise _wrong('"USERNAME"', "there with PASSWORD, without a space", "something else")
    return SecretBytes(f"{user} {password}".encode())


def _told_number(value: object) -> str:
    return repr(value) if isinstance(value, int | float) else type(value).__name__


def _told_name(name: str) -> str:
    return name if name.isidentifier() else "a name that isn't an option's"


def _wrong(key: str, expected: str, found: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{_SETTING}[{key}] must be {expected} (got {found}).")
