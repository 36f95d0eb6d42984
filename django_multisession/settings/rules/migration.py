"""What is wrong with a migration from another engine: pure rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from django_multisession.core.problems import Problem
from django_multisession.core.records import NEVER
from django_multisession.settings.check_ids import Check
from django_multisession.settings.values import Migration

FROM, SINCE, UNTIL = (f"MULTISESSION_MIGRATE_{each}" for each in ("FROM", "SINCE", "UNTIL"))


def without_effect(
    migration: Migration | None, given: Collection[str], now: int
) -> Iterator[Problem]:
    """Report settings of a migration that is over, or that there is none of."""
    if migration is None:
        for name in sorted({SINCE, UNTIL} & set(given)):
            yield Check.MIGRATION_WITHOUT_EFFECT.found(
                f"{name} is set without {FROM}: it has no effect.",
                f"Remove {name}, or set {FROM}.",
            )
    elif migration.until_ms <= now:
        yield Check.MIGRATION_WITHOUT_EFFECT.found(
            f"{UNTIL} has passed: no session of {migration.engine!r} is adopted any more.",
            f"Remove {FROM} and {UNTIL}.",
        )


def unfit_target(engine: str) -> Problem:
    """Report an engine that can't remember what was adopted."""
    return Check.MIGRATE_TO.found(
        f"SESSION_ENGINE is {engine!r}, which can forget the sessions that were adopted by {FROM}: "
        "a captured old cookie would be adopted again after a logout.",
        f"Remove {FROM}, or migrate to an engine that keeps its records.",
    )


def unusable_source(engine: str, found: str) -> Problem:
    """Report that the engine whose sessions are adopted leads to *found* instead."""
    return Check.MIGRATE_FROM.found(
        f"{FROM} must be the dotted path of a module with a SessionStore "
        f"(got {engine!r}: {found}).",
        "Is it spelled right, and is its app in INSTALLED_APPS? Django's db and cached_db need "
        '"django.contrib.sessions" there, and cache and cached_db their cache in CACHES.',
    )


def unknown_beginning(engine: str) -> Problem:
    """Report that nothing says which cookies are from before the switch."""
    return Check.MIGRATE_SINCE.found(
        f"{SINCE} must say when the site left {engine!r} (got None): only cookies that were signed "
        "before are adopted.",
        f"{SINCE} = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)",
    )


def endless(migration: Migration) -> list[Problem]:
    """Report a migration that never ends."""
    if migration.until_ms < NEVER:
        return []
    return [
        Check.ENDLESS_MIGRATION.found(
            f"{FROM} is set without {UNTIL}: each session key that the site didn't sign costs a "
            f"look-up in {migration.engine!r}.",
            f"Set {UNTIL} to the moment when the last old cookie expires: that of the switch and "
            "SESSION_COOKIE_AGE.",
        )
    ]
