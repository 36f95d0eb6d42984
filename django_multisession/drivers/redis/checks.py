"""Is a Redis fit to hold sessions? Judged by what its INFO says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django_multisession.core.problems import Problem, Severity
from django_multisession.drivers import releases
from django_multisession.drivers.redis.protocol import NotReady
from django_multisession.exceptions import OutageKind, StoreUnavailable

OLDEST_VERSION = (6, 2)


#: What to do about an outage of a kind.
_HINTS: Final = {
    OutageKind.UNREACHABLE: "Start the server, or correct its address in MULTISESSION_REDIS.",
    OutageKind.TIMED_OUT: "Correct its address, let connections through the firewall, or find out "
    "what keeps the server busy.",
    OutageKind.OVERLOADED: "Raise maxclients in the configuration of the server.",
}
_WAIT: Final = "Run the check again when the server is ready."


def unanswered(error: StoreUnavailable) -> Problem:
    """Report a server that doesn't answer, or one that answers and refuses."""
    if error.kind is OutageKind.REFUSED:
        return Problem(
            "multisession.E105",
            f"The Redis of MULTISESSION_REDIS must do what sessions need: {error}",
            "Until then, requests that use a session get a 503.",
        )
    return Problem(
        "multisession.W101",
        str(error),
        _WAIT if isinstance(error, NotReady) else _HINTS[error.kind],
        Severity.WARNING,
    )


def facts_of(told: bytes) -> dict[str, Any]:
    """Return what the text of INFO says; whole numbers as such."""
    lines = [line.partition(":") for line in told.decode(errors="replace").splitlines()]
    return {
        name: int(value) if value.isdecimal() else value for name, colon, value in lines if colon
    }


def judged(facts: Mapping[str, Any]) -> list[Problem]:
    """Report what is wrong with the server that told *facts*."""
    return [
        *_check_version(facts),
        *_check_release(facts),
        *_check_eviction(facts),
        *_check_mode(facts),
    ]


def _numbers_of(version: str) -> releases.Version:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _check_version(facts: Mapping[str, Any]) -> list[Problem]:
    version = str(facts.get("redis_version", ""))
    if _numbers_of(version) >= OLDEST_VERSION:
        return []
    return [
        Problem(
            "multisession.E102",
            f"MULTISESSION_REDIS must name a Redis of version 6.2 or later (got {version!r}).",
            "Upgrade the server.",
        )
    ]


def _check_release(facts: Mapping[str, Any]) -> list[Problem]:
    # To Valkey, redis_version is the Redis that it stands in for.
    name, version, fixed = (
        ("Valkey", facts["valkey_version"], releases.VALKEY)
        if "valkey_version" in facts
        else ("Redis", facts.get("redis_version", ""), releases.REDIS)
    )
    found = _numbers_of(str(version))
    fix = releases.fix_for(found, fixed)
    if found < OLDEST_VERSION or fix is None:
        return []
    return [
        Problem(
            "multisession.W106",
            f"{name} {version} is older than {releases.dotted(fix)}, which closed security holes.",
            f"Upgrade the server to {releases.dotted(fix)} or later.",
            Severity.WARNING,
        )
    ]


def _check_eviction(facts: Mapping[str, Any]) -> list[Problem]:
    policy = str(facts.get("maxmemory_policy", ""))
    if not facts.get("maxmemory") or not policy.startswith(("allkeys-", "volatile-")):
        return []
    return [
        Problem(
            "multisession.W103",
            "The Redis of MULTISESSION_REDIS must have maxmemory-policy noeviction "
            f"(got {policy}): with its memory full, it throws sessions away.",
            "Give sessions a Redis of their own, apart from caches, with noeviction.",
            Severity.WARNING,
        )
    ]


def is_cluster(facts: Mapping[str, Any]) -> bool:
    """Is the server that told *facts* part of a Redis Cluster?"""
    return facts.get("redis_mode") == "cluster"


def _check_mode(facts: Mapping[str, Any]) -> list[Problem]:
    if not is_cluster(facts):
        return []
    return [
        Problem(
            "multisession.E104",
            "The Redis of MULTISESSION_REDIS must be no Redis Cluster (got redis_mode cluster): "
            "a new session key lies in another slot than the old one, so that logins fail.",
            "Give sessions a Redis of their own; Sentinel makes it fail over.",
        )
    ]
