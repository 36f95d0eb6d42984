"""Which settings contradict each other, have no effect or leave a site unprotected: pure rules.

What a single setting may be is decided where it is read, in `conf`.
"""

from __future__ import annotations

import dataclasses
import difflib
import http.cookies
from collections.abc import Collection, Iterator, Sequence

from django_multisession.configuration import Cookie, Problem, Site
from django_multisession.expiry import Policy
from django_multisession.setting_reader import OURS

DJANGOS_APP = "django.contrib.sessions"
DJANGOS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_MIDDLEWARE = "django_multisession.middleware.SessionMiddleware"

#: What browsers ask of a cookie whose name begins so (RFC 6265bis, section 4.1.3).
PREFIXES = {
    "__secure-": {"Secure"},
    "__host-": {"Secure", "Path", "Domain"},
    "__http-": {"Secure", "HttpOnly"},
    "__host-http-": {"Secure", "HttpOnly", "Path", "Domain"},
}
SAME_SITE_CHOICES = ("lax", "strict", "none")

DROPPED = "browsers drop the cookie otherwise, and nobody can log in."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Demand:
    """What a cookie's name may demand of one attribute, and what the site says."""

    attribute: str
    setting: str
    expected: str
    found: object
    is_met: bool


def unknown_settings(our_settings: Collection[str], given: Collection[str]) -> list[Problem]:
    """Report the ``MULTISESSION_*`` settings that there are none of: misspelled, or of old."""
    return [
        Problem(
            "multisession.E014",
            f"A setting whose name begins with {OURS} must be one of django_multisession's "
            f"(got {name}): others have no effect.",
            _rename(name, our_settings),
        )
        for name in sorted(set(given) - set(our_settings))
    ]


def unknown_engine(engine: str, engines: Collection[str]) -> list[Problem]:
    """Report a ``SESSION_ENGINE`` that looks like one of ours and is none."""
    ours = [f"django_multisession.engines.{name}" for name in engines]
    if not f"{engine}.".startswith("django_multisession.") or engine in ours:
        return []
    found = difflib.get_close_matches(engine.rpartition(".")[2].lower(), engines, n=1)
    suggested = f"django_multisession.engines.{found[0]}" if found else "one of these"
    return [
        Problem(
            "multisession.E020",
            f"SESSION_ENGINE must be one of {', '.join(map(repr, ours))} (got {engine!r}).",
            f'SESSION_ENGINE = "{suggested}"' if found else "Set it to one of these.",
        )
    ]


def contradictions(cookie: Cookie) -> Iterator[Problem]:
    """Yield why a browser, or Django, would not take the session's cookie."""
    try:
        http.cookies.Morsel[str]().set(cookie.name, "", "")
    except (http.cookies.CookieError, AttributeError, TypeError):
        yield Problem(
            "multisession.E022",
            "SESSION_COOKIE_NAME must be a name that a cookie can have: letters, digits and "
            f"!#$%&'*+-.^_`|~ (got {cookie.name!r}).",
            'SESSION_COOKIE_NAME = "sessionid"',
        )
    for demand in _unmet_demands(cookie):
        yield Problem(
            "multisession.E015",
            f"{demand.setting} must be {demand.expected} for a cookie that is named "
            f"{cookie.name!r} (got {demand.found!r}): {DROPPED}",
            f"{demand.setting} = {demand.expected}, or a SESSION_COOKIE_NAME without the prefix.",
        )
    if not _is_same_site(cookie.same_site):
        yield Problem(
            "multisession.E021",
            'SESSION_COOKIE_SAMESITE must be "Lax", "Strict", "None" or False '
            f"(got {cookie.same_site!r}).",
            'SESSION_COOKIE_SAMESITE = "Lax"',
        )
    elif _same_site(cookie) == "none" and not cookie.is_secure:
        yield Problem(
            "multisession.E016",
            'SESSION_COOKIE_SECURE must be True for SESSION_COOKIE_SAMESITE = "None" '
            f"(got {cookie.is_secure!r}): {DROPPED}",
            'SESSION_COOKIE_SECURE = True, or SESSION_COOKIE_SAMESITE = "Lax".',
        )


def several_session_middlewares(paths: Sequence[str]) -> list[Problem]:
    """Report session middlewares of *paths*, if they are more than one."""
    if len(paths) < 2:  # noqa: PLR2004  (several)
        return []
    own = [path for path in paths if path != DJANGOS_MIDDLEWARE]
    kept = OUR_MIDDLEWARE if OUR_MIDDLEWARE in own else (own or paths)[0]
    surplus = [path for path in paths if path != kept] or [f"the second {kept}"]
    return [
        Problem(
            "multisession.E018",
            f"MIDDLEWARE must hold one session middleware (got {' and '.join(paths)}): each "
            "replaces the session of the one before, and saves it once more.",
            f"Remove {' and '.join(surplus)} from MIDDLEWARE.",
        )
    ]


def hidden_command(app_names: Sequence[str]) -> list[Problem]:
    """Report that ``manage.py clearsessions`` is Django's; *app_names* are in order."""
    ours = "django_multisession"
    # A test may take an app out of INSTALLED_APPS; checks that were registered stay so.
    found = [name for name in app_names if name in (DJANGOS_APP, ours)]
    if found != [DJANGOS_APP, ours]:
        return []
    return [
        Problem(
            "multisession.W019",
            f"{ours!r} must come before {DJANGOS_APP!r} in INSTALLED_APPS (got it behind): "
            "manage.py clearsessions is Django's otherwise, without our options and its report.",
            f'INSTALLED_APPS = ["{ours}", ...the others]: move it to the front.',
        )
    ]


def not_a_serializer(serializer: str, found: str) -> Problem:
    """Report that ``SESSION_SERIALIZER`` leads to *found* instead."""
    return Problem(
        "multisession.E017",
        "SESSION_SERIALIZER must be the path of a class with dumps() and loads() "
        f"(got {serializer!r}: {found}).",
        f"{_JSON_LINE}, Django's default.",
    )


def unpickling(serializer: str) -> Problem:
    """Report that ``SESSION_SERIALIZER`` unpickles."""
    return Problem(
        "multisession.W123",
        f"SESSION_SERIALIZER must not unpickle (got {serializer!r}): what is stored is sealed with "
        "SECRET_KEY, and whoever learns that and can write to the store runs code on this site.",
        f"{_JSON_LINE}; then put into sessions only what JSON can hold.",
    )


def foreign_engine(engine: str) -> Problem:
    """Report that this package is installed and not used."""
    return Problem(
        "multisession.W127",
        "SESSION_ENGINE must be an engine of django_multisession, as that is in INSTALLED_APPS "
        f"(got {engine!r}): nothing that it protects is protected.",
        'SESSION_ENGINE = "django_multisession.engines.redis", or remove "django_multisession" '
        "from INSTALLED_APPS.",
    )


def exposures(site: Site) -> Iterator[Problem]:
    """Yield what leaves the sessions of a site that is deployed unprotected."""
    cookie = site.config.cookie
    if not (cookie.is_secure or _is_told_by_django(site)):
        yield Problem(
            "multisession.W120",
            f"SESSION_COOKIE_SECURE must be True (got {cookie.is_secure!r}): whoever listens to a "
            "request over HTTP has the session otherwise.",
            "SESSION_COOKIE_SECURE = True",
        )
    if not (cookie.is_http_only or _is_told_by_django(site)):
        yield Problem(
            "multisession.W121",
            f"SESSION_COOKIE_HTTPONLY must be True (got {cookie.is_http_only!r}): a script that "
            "was smuggled into a page takes the session away otherwise.",
            "SESSION_COOKIE_HTTPONLY = True",
        )
    if _is_same_site(cookie.same_site) and _same_site(cookie) in {"", "none"}:
        yield Problem(
            "multisession.W122",
            'SESSION_COOKIE_SAMESITE must be "Lax" or "Strict" '
            f"(got {cookie.same_site or False!r}): every other site can send requests with the "
            "session otherwise.",
            'SESSION_COOKIE_SAMESITE = "Lax"; silence this where other sites embed this one.',
        )
    yield from _endless(site.config.policy)
    if site.engine == "django_multisession.engines.memory":
        yield Problem(
            "multisession.W126",
            "SESSION_ENGINE must be an engine that processes share and that survives a restart "
            f"(got {site.engine!r}): each process has sessions of its own otherwise.",
            'SESSION_ENGINE = "django_multisession.engines.redis"',
        )


def _endless(policy: Policy) -> Iterator[Problem]:
    if policy.idle_timeout is None:
        yield Problem(
            "multisession.W124",
            "MULTISESSION_IDLE_TIMEOUT must be a timeout (got None): a session that nobody uses, "
            "in a browser that was left open, stays open.",
            "MULTISESSION_IDLE_TIMEOUT = 30 * 60",
        )
    if policy.absolute_timeout is None:
        yield Problem(
            "multisession.W125",
            "MULTISESSION_ABSOLUTE_TIMEOUT must be a timeout (got None): a stolen session lives "
            "for as long as the thief uses it.",
            "MULTISESSION_ABSOLUTE_TIMEOUT = 12 * 60 * 60",
        )


_JSON_LINE = 'SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"'


def _rename(name: str, our_settings: Collection[str]) -> str:
    # Without the prefix, which would make them all alike.
    rests = [ours.removeprefix(OURS) for ours in our_settings]
    found = difflib.get_close_matches(name.removeprefix(OURS), rests, n=1)
    if found:
        return f"Rename it to {OURS}{found[0]}."
    return f"Remove it. There are {', '.join(sorted(our_settings))}."


def _unmet_demands(cookie: Cookie) -> list[_Demand]:
    # Browsers compare without regard to case, so that servers that do cannot be deceived.
    name = str(cookie.name).lower()
    asked = {
        attribute
        for prefix, attributes in PREFIXES.items()
        if name.startswith(prefix)
        for attribute in attributes
    }
    demands = [
        _Demand(
            attribute="Secure",
            setting="SESSION_COOKIE_SECURE",
            expected="True",
            found=cookie.is_secure,
            is_met=cookie.is_secure,
        ),
        _Demand(
            attribute="HttpOnly",
            setting="SESSION_COOKIE_HTTPONLY",
            expected="True",
            found=cookie.is_http_only,
            is_met=cookie.is_http_only,
        ),
        _Demand(
            attribute="Path",
            setting="SESSION_COOKIE_PATH",
            expected='"/"',
            found=cookie.path,
            is_met=cookie.path == "/",
        ),
        _Demand(
            attribute="Domain",
            setting="SESSION_COOKIE_DOMAIN",
            expected="None",
            found=cookie.domain,
            is_met=not cookie.domain,
        ),
    ]
    return [demand for demand in demands if demand.attribute in asked and not demand.is_met]


def _same_site(cookie: Cookie) -> str:
    return (cookie.same_site or "").lower()


def _is_same_site(value: object) -> bool:
    return not value or (isinstance(value, str) and value.lower() in SAME_SITE_CHOICES)


def _is_told_by_django(site: Site) -> bool:
    """Do Django's own W010 to W015 look at this site? They compare these very spellings."""
    return DJANGOS_APP in site.installed_apps or DJANGOS_MIDDLEWARE in site.middleware
