"""Which settings contradict each other, have no effect or leave a site unprotected: pure rules.

What a single setting may be is decided where it is read, in `conf`. `rules.cookie` and
`rules.middleware` judge the cookie, and what stands in lists.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator

from django_multisession.core.lifetime import Policy
from django_multisession.core.merging import AUTH_PREFIX
from django_multisession.core.problems import Problem
from django_multisession.settings.check_ids import Check
from django_multisession.settings.reader import ENGINE_PREFIX, OURS, in_seconds
from django_multisession.settings.rules.cookie import is_known_same_site, same_site
from django_multisession.settings.rules.middleware import DJANGOS_APP, DJANGOS_MIDDLEWARE
from django_multisession.settings.rules.renames import RENAMED
from django_multisession.settings.values import Migration, Site


def unknown_settings(our_settings: Collection[str], given: Collection[str]) -> list[Problem]:
    """Report the ``MULTISESSION_*`` settings that there are none of: misspelled, or of old."""
    return [
        Check.UNKNOWN_SETTING.found(
            f"A setting whose name begins with {OURS} must be one of django_multisession's "
            f"(got {name}): others have no effect.",
            _rename(name, our_settings),
        )
        for name in sorted(set(given) - set(our_settings))
    ]


def unknown_engine(engine: str, engines: Collection[str]) -> list[Problem]:
    """Report a ``SESSION_ENGINE`` that looks like one of ours and is none."""
    ours = [ENGINE_PREFIX + name for name in engines]
    if not f"{engine}.".startswith("django_multisession.") or engine in ours:
        return []
    return [
        Check.UNKNOWN_ENGINE.found(
            f"SESSION_ENGINE must be one of {', '.join(map(repr, ours))} (got {engine!r}).",
            _engine_line(engine, engines) or "Set it to one of these.",
        )
    ]


def no_engine(engine: object, found: str, engines: Collection[str]) -> Problem:
    """Report that ``SESSION_ENGINE`` leads to *found* instead."""
    line = _engine_line(str(engine), engines) or f'SESSION_ENGINE = "{ENGINE_PREFIX}redis"'
    return Check.NO_ENGINE.found(
        "SESSION_ENGINE must be the dotted path of a module with a SessionStore "
        f"(got {engine!r}: {found}).",
        f"Is it installed, and spelled right? One of ours: {line}",
    )


def timeouts_without_effect(policy: Policy) -> list[Problem]:
    """Report timeouts that the absolute one, which the site chose, leaves without effect."""
    absolute = policy.absolute_timeout
    if absolute is None or not policy.absolute_is_configured:
        return []
    source = "" if policy.idle_is_configured else ", SESSION_COOKIE_AGE"
    idle_timeouts = {
        "MULTISESSION_IDLE_TIMEOUT": (policy.idle_timeout, source),
        "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT": (policy.anonymous_idle_timeout, ""),
    }
    found = [
        Check.TIMEOUT_WITHOUT_EFFECT.found(
            f"{name} must not be longer than MULTISESSION_ABSOLUTE_TIMEOUT, "
            f"{in_seconds(absolute)} seconds (got {in_seconds(idle)}{source}): "
            "it has no effect.",
            f"Set {name} to less; sessions end by the absolute timeout alone now.",
        )
        for name, (idle, source) in idle_timeouts.items()
        if idle is not None and idle > absolute
    ]
    remembered = policy.remembered_absolute_timeout
    if remembered is not None and remembered <= absolute:
        name = "MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT"
        found.append(
            Check.TIMEOUT_WITHOUT_EFFECT.found(
                f"{name} must be longer than MULTISESSION_ABSOLUTE_TIMEOUT, {in_seconds(absolute)} "
                f"seconds (got {in_seconds(remembered)}): it has no effect.",
                f"Set {name} to the longest time that set_expiry() asks for, or remove it.",
            )
        )
    return found


def resolvers_without_effect(entries: Iterable[str]) -> list[Problem]:
    """Report resolvers of *entries* that are never merged."""
    return [
        Check.RESOLVER_WITHOUT_EFFECT.found(
            f"MULTISESSION_CONFLICT_RESOLVERS must name entries that are merged (got {name!r}): those that "
            f"begin with {AUTH_PREFIX!r} change together or not at all, and no resolver is asked.",
            "Remove it from MULTISESSION_CONFLICT_RESOLVERS.",
        )
        for name in entries
        if name.startswith(AUTH_PREFIX)
    ]


def limit_not_indexed(engine: str) -> Problem:
    """Report that ``MULTISESSION_MAX_SESSIONS`` is set, and *engine* can't count the sessions of a user."""
    return Check.LIMIT_NOT_INDEXED.found(
        "MULTISESSION_MAX_SESSIONS needs an engine that finds the sessions of a user "
        f"(SESSION_ENGINE is {engine!r}): logins fail.",
        "Remove MULTISESSION_MAX_SESSIONS, or set SESSION_ENGINE to redis, mongodb or database of "
        "django_multisession.engines, to tiered with one of them as its back, or to memcached or "
        "cookie with one of them as LISTED_IN.",
    )


def not_opened(problem: str, hint: str) -> Problem:
    """Report that the engine's driver can't be made, for the reason *problem*."""
    return Check.ENGINE_NOT_OPENED.found(problem, hint)


def not_a_serializer(serializer: str, found: str) -> Problem:
    """Report that ``SESSION_SERIALIZER`` leads to *found* instead."""
    return Check.SERIALIZER.found(
        "SESSION_SERIALIZER must be the path of a class with dumps() and loads() "
        f"(got {serializer!r}: {found}).",
        f"{_JSON_LINE}, Django's default.",
    )


def unpickling(serializer: str) -> Problem:
    """Report that ``SESSION_SERIALIZER`` unpickles."""
    return Check.UNPICKLING.found(
        f"SESSION_SERIALIZER must not unpickle (got {serializer!r}): what is stored is signed with "
        "SECRET_KEY, and whoever learns that and can write to the store runs code on this site.",
        f"{_JSON_LINE}; then put into sessions only what JSON can hold.",
    )


def foreign_engine(engine: str, migration: Migration | None) -> Problem:
    """Report that this package is installed and not used, except by a site that leaves it."""
    if migration is not None and migration.engine.startswith(ENGINE_PREFIX):
        hint = 'While sessions go back, add "multisession.W127" to SILENCED_SYSTEM_CHECKS.'
    else:
        name = "database" if engine in _IN_A_DATABASE else "redis"
        hint = (
            f'SESSION_ENGINE = "{ENGINE_PREFIX}{name}", or remove "django_multisession" from '
            "INSTALLED_APPS."
        )
    return Check.FOREIGN_ENGINE.found(
        "SESSION_ENGINE must be an engine of django_multisession, as that is in INSTALLED_APPS "
        f"(got {engine!r}): nothing that it protects is protected.",
        hint,
    )


def unshared(engine: str, setting: str) -> Problem:
    """Report that the processes of a site don't share what *setting* has its sessions in."""
    if setting != "SESSION_ENGINE":
        return Check.UNSHARED_ENGINE.found(
            f"{setting} must name engines that processes share and that survive a restart "
            f"(got {engine!r}): a logout would not reach the copies of other processes.",
            "Name an engine with a server: see docs/howto/use-two-tiers.",
        )
    return Check.UNSHARED_ENGINE.found(
        "SESSION_ENGINE must be an engine that processes share and that survives a restart "
        f"(got {engine!r}): each process has sessions of its own otherwise.",
        'SESSION_ENGINE = "django_multisession.engines.redis"',
    )


def exposures(site: Site) -> Iterator[Problem]:
    """Yield what leaves the sessions of a site that is deployed unprotected."""
    cookie = site.cookie
    if not (cookie.is_secure or _is_told_by_django(site)):
        yield Check.NOT_SECURE.found(
            f"SESSION_COOKIE_SECURE must be True (got {cookie.is_secure!r}): whoever listens to a "
            "request over HTTP has the session otherwise.",
            "SESSION_COOKIE_SECURE = True",
        )
    if not (cookie.is_http_only or _is_told_by_django(site)):
        yield Check.NOT_HTTP_ONLY.found(
            f"SESSION_COOKIE_HTTPONLY must be True (got {cookie.is_http_only!r}): a script that "
            "was smuggled into a page takes the session away otherwise.",
            "SESSION_COOKIE_HTTPONLY = True",
        )
    if is_known_same_site(cookie.same_site) and same_site(cookie) in {"", "none"}:
        yield Check.CROSS_SITE.found(
            'SESSION_COOKIE_SAMESITE must be "Lax" or "Strict" '
            f"(got {cookie.same_site or False!r}): every other site can send requests with the "
            "session otherwise.",
            'SESSION_COOKIE_SAMESITE = "Lax"; silence this where other sites embed this one.',
        )
    yield from _endless(site.config.policy)


def _endless(policy: Policy) -> Iterator[Problem]:
    if policy.idle_timeout is None:
        yield Check.NO_IDLE_TIMEOUT.found(
            "MULTISESSION_IDLE_TIMEOUT must be a timeout (got None): a session that no one uses, "
            "in a browser that was left open, stays open.",
            "MULTISESSION_IDLE_TIMEOUT = 30 * 60",
        )
    if policy.absolute_timeout is None:
        yield Check.NO_ABSOLUTE_TIMEOUT.found(
            "MULTISESSION_ABSOLUTE_TIMEOUT must be a timeout (got None): a stolen session lives "
            "for as long as the thief uses it.",
            "MULTISESSION_ABSOLUTE_TIMEOUT = 12 * 60 * 60",
        )


#: Django's engines whose sites have a database to keep sessions in.
_IN_A_DATABASE = tuple(f"django.contrib.sessions.backends.{name}" for name in ("cached_db", "db"))
_JSON_LINE = 'SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"'


def _rename(name: str, our_settings: Collection[str]) -> str:
    if name in RENAMED:
        return f"Rename it to {RENAMED[name]}."
    # Without the prefix, which would make them all alike.
    rests = [ours.removeprefix(OURS) for ours in our_settings]
    found = difflib.get_close_matches(name.removeprefix(OURS), rests, n=1)
    if found:
        return f"Rename it to {OURS}{found[0]}."
    return f"Remove it. There are {', '.join(sorted(our_settings))}."


def _engine_line(engine: str, engines: Collection[str]) -> str:
    """Return the line that names the one of *engines* that *engine* resembles; empty if none."""
    found = difflib.get_close_matches(engine.rpartition(".")[2].lower(), engines, n=1)
    return f'SESSION_ENGINE = "{ENGINE_PREFIX}{found[0]}"' if found else ""


def _is_told_by_django(site: Site) -> bool:
    """Do Django's own W010 to W015 look at this site? They compare these very spellings."""
    return DJANGOS_APP in site.installed_apps or DJANGOS_MIDDLEWARE in site.middleware
