"""Pages that need an engine which finds sessions: pure rules."""

from __future__ import annotations

from django_multisession.core.problems import Problem
from django_multisession.settings.check_ids import Check

_FIT = (
    "Set SESSION_ENGINE to redis, mongodb or database of django_multisession.engines, to tiered with "
    "one of them as its back, or to memcached or cookie with one of them as LISTED_IN"
)


def pages_without_index(engine: str) -> Problem:
    """Report the pages of a user's sessions on *engine*, which can't find them."""
    return Check.PAGES_WITHOUT_INDEX.found(
        "The URLs of django_multisession.user_sessions are included, and the engine can't find the "
        f"sessions of a user (SESSION_ENGINE is {engine!r}). The list of sessions raises "
        "ImproperlyConfigured.",
        f"{_FIT}. Or name only those views in your URLs that you use.",
    )


def admin_without_index(engine: str) -> Problem:
    """Report the admin's pages of sessions on *engine*, which can't list them."""
    return Check.ADMIN_WITHOUT_INDEX.found(
        "INSTALLED_APPS has 'django_multisession.session_admin', and the engine can't list sessions "
        f"(SESSION_ENGINE is {engine!r}). Its pages raise ImproperlyConfigured.",
        f"{_FIT}. Or remove the app.",
    )
