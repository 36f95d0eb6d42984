"""What `check()` finds at each memcached: reachable, new enough, safe to save to, large enough."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django_multisession.core.problems import Problem, Severity
from django_multisession.core.records import new_revision
from django_multisession.drivers.memcached.connections import Connection, Node
from django_multisession.drivers.memcached.expiry import NOW
from django_multisession.drivers.memcached.server import MemcachedServer, exchange
from django_multisession.exceptions import OutageKind, StoreUnavailable

OLDEST_VERSION = (1, 6)


def check(server: MemcachedServer, prefix: str) -> list[Problem]:
    """Return what is wrong with each memcached of *server*; leaves nothing there."""
    return [problem for node in server.nodes for problem in _check(server, node, prefix)]


def _check(server: MemcachedServer, node: Node, prefix: str) -> list[Problem]:
    def ask(call: Callable[[Connection], Any]) -> Any:
        return exchange(node, call, server.limit())

    place = f"{prefix}check-{new_revision().hex()}".encode()
    try:
        version = ask(lambda connection: connection.version()).decode("ascii", "replace")
        settings = ask(lambda connection: connection.stats("settings"))
        facts = ask(lambda connection: connection.stats())
        ask(lambda connection: connection.add(place, b"", 60, noreply=False))
        _, token = ask(lambda connection: connection.gets(place))
        ask(lambda connection: connection.cas(place, b"", token or b"0", NOW))
    except StoreUnavailable as error:
        return [_unanswered(error)]
    return [
        *_check_version(node, version),
        *_check_item_size(node, settings.get(b"item_size_max"), server.item_size),
        *_check_tokens(node, settings.get(b"cas_enabled")),
        *_check_eviction(node, facts.get(b"evictions", 0)),
    ]


def _unanswered(error: StoreUnavailable) -> Problem:
    if error.kind is OutageKind.REFUSED:
        return Problem(
            "multisession.E145",
            str(error),
            "Until then, requests that use a session there get a 503.",
        )
    return Problem(
        "multisession.W141",
        str(error),
        "Start it, or correct MULTISESSION_MEMCACHED: SERVERS, TLS.",
        Severity.WARNING,
    )


def _check_version(node: Node, version: str) -> list[Problem]:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers >= OLDEST_VERSION:
        return []
    oldest = ".".join(map(str, OLDEST_VERSION))
    return [
        Problem(
            "multisession.E142",
            f"memcached at {node.name} must be {oldest} or newer (got {version!r}).",
            "Upgrade the server.",
        )
    ]


def _check_tokens(node: Node, is_enabled: object) -> list[Problem]:
    if is_enabled != b"no":
        return []
    return [
        Problem(
            "multisession.E144",
            f"memcached at {node.name} runs with -C. It can't compare what a save writes over.",
            "Start it without -C.",
        )
    ]


def _check_item_size(node: Node, size: object, expected: int) -> list[Problem]:
    if not isinstance(size, int) or size >= expected:
        return []
    return [
        Problem(
            "multisession.E146",
            f"memcached at {node.name} takes items of {size} bytes. MULTISESSION_MEMCACHED has "
            f"{expected} as MAX_ITEM_SIZE, so that larger sessions get a 503.",
            f'Start it with -I {expected}, or set "MAX_ITEM_SIZE": {size}.',
        )
    ]


def _check_eviction(node: Node, evictions: int) -> list[Problem]:
    if not evictions:
        return []
    return [
        Problem(
            "multisession.W143",
            f"memcached at {node.name} has evicted {evictions} items to make room. The user of an "
            "evicted session is logged out.",
            "Give it more memory (-m), and give sessions a memcached apart from caches.",
            Severity.WARNING,
        )
    ]
