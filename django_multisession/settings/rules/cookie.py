"""Why a browser, or Django, would not take the session's cookie: pure rules."""

from __future__ import annotations

import dataclasses
import http.cookies
from collections.abc import Iterator

from django_multisession.core.problems import Problem
from django_multisession.settings.check_ids import Check
from django_multisession.settings.values import Cookie

#: What browsers ask of a cookie whose name begins so (RFC 6265bis, section 4.1.3).
PREFIXES = {
    "__secure-": {"Secure"},
    "__host-": {"Secure", "Path", "Domain"},
    "__http-": {"Secure", "HttpOnly"},
    "__host-http-": {"Secure", "HttpOnly", "Path", "Domain"},
}
SAME_SITE_CHOICES = ("lax", "strict", "none")

DROPPED = "browsers drop the cookie otherwise, and no user can log in."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Demand:
    """What a cookie's name may demand of one attribute, and what the site says."""

    attribute: str
    setting: str
    expected: str
    found: object
    is_met: bool


def contradictions(cookie: Cookie) -> Iterator[Problem]:
    """Yield why a browser, or Django, would not take the session's cookie."""
    try:
        http.cookies.Morsel[str]().set(cookie.name, "", "")
    except (http.cookies.CookieError, AttributeError, TypeError):
        yield Check.COOKIE_NAME.found(
            "SESSION_COOKIE_NAME must be a name that a cookie can have: letters, digits and "
            f"!#$%&'*+-.^_`|~ (got {cookie.name!r}).",
            'SESSION_COOKIE_NAME = "sessionid"',
        )
    for demand in _unmet_demands(cookie):
        yield Check.COOKIE_PREFIX.found(
            f"{demand.setting} must be {demand.expected} for a cookie that is named "
            f"{cookie.name!r} (got {demand.found!r}): {DROPPED}",
            f"{demand.setting} = {demand.expected}, or a SESSION_COOKIE_NAME without the prefix.",
        )
    if not is_known_same_site(cookie.same_site):
        yield Check.COOKIE_SAME_SITE.found(
            'SESSION_COOKIE_SAMESITE must be "Lax", "Strict", "None" or False '
            f"(got {cookie.same_site!r}).",
            'SESSION_COOKIE_SAMESITE = "Lax"',
        )
    elif same_site(cookie) == "none" and not cookie.is_secure:
        yield Check.INSECURE_SAME_SITE_NONE.found(
            'SESSION_COOKIE_SECURE must be True for SESSION_COOKIE_SAMESITE = "None" '
            f"(got {cookie.is_secure!r}): {DROPPED}",
            'SESSION_COOKIE_SECURE = True, or SESSION_COOKIE_SAMESITE = "Lax".',
        )


def same_site(cookie: Cookie) -> str:
    """Return ``SESSION_COOKIE_SAMESITE`` in small letters; empty if there is none."""
    return (cookie.same_site or "").lower()


def is_known_same_site(value: object) -> bool:
    """Is *value* one that Django takes for ``SESSION_COOKIE_SAMESITE``?"""
    return not value or (isinstance(value, str) and value.lower() in SAME_SITE_CHOICES)


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
