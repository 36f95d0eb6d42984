"""Is a Redis fit to hold sessions? Judged by what its INFO says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django_multisession.core.problems import Problem, Severity

OLDEST_VERSION = (6, 2)


def unanswered(error: Exception) -> Problem:
    """Report a server that does not answer."""
    return Problem(
        "multisession.W101",
        f"MULTISESSION_REDIS must name a Redis that answers: {error}",
        "Is it running? Are its address, user and password right?",
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
    return [*_check_version(facts), *_check_eviction(facts), *_check_mode(facts)]


def _check_version(facts: Mapping[str, Any]) -> list[Problem]:
    version = str(facts.get("redis_version", ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers >= OLDEST_VERSION:
        return []
    return [
        Problem(
            "multisession.E102",
            f"MULTISESSION_REDIS must name a Redis of version 6.2 or later (got {version!r}).",
            "Upgrade the server.",
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


def _check_mode(facts: Mapping[str, Any]) -> list[Problem]:
    if facts.get("redis_mode") != "cluster":
        return []
    return [
        Problem(
            "multisession.E104",
            "The Redis of MULTISESSION_REDIS must be no Redis Cluster (got redis_mode cluster): "
            "a new session key lies in another slot than the old one, so that logins fail.",
            "Give sessions a Redis of their own; Sentinel makes it fail over.",
        )
    ]
