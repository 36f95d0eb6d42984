"""The sessions of a page's user, and times as people say them.

::

    {% load multisession %}
    {% user_sessions as sessions %}
    {% include "django_multisession/sessions.html" %}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy

from django_multisession.decorators import session_of
from django_multisession.settings import conf
from django_multisession.user_sessions import UserSession, list_sessions
from django_multisession.user_sessions.pages import own_first
from django_multisession.user_sessions.time_left import seconds_left

register = template.Library()

#: From which distance on a unit is used, the unit, and its words. 45 days say more than a month.
_UNITS: tuple[tuple[timedelta, timedelta, Any, Any], ...] = (
    (
        timedelta(days=60),
        timedelta(days=30),
        ngettext_lazy("%(count)d month ago", "%(count)d months ago", "count"),
        ngettext_lazy("in %(count)d month", "in %(count)d months", "count"),
    ),
    (
        timedelta(days=1),
        timedelta(days=1),
        ngettext_lazy("%(count)d day ago", "%(count)d days ago", "count"),
        ngettext_lazy("in %(count)d day", "in %(count)d days", "count"),
    ),
    (
        timedelta(hours=1),
        timedelta(hours=1),
        ngettext_lazy("%(count)d hour ago", "%(count)d hours ago", "count"),
        ngettext_lazy("in %(count)d hour", "in %(count)d hours", "count"),
    ),
    (
        timedelta(minutes=1),
        timedelta(minutes=1),
        ngettext_lazy("%(count)d minute ago", "%(count)d minutes ago", "count"),
        ngettext_lazy("in %(count)d minute", "in %(count)d minutes", "count"),
    ),
)


@register.simple_tag(takes_context=True)
def user_sessions(context: Mapping[str, Any]) -> list[UserSession]:
    """Return the sessions of the request's user, the current one first; none without a user.

    The template needs the request: a view renders it with ``render()``, or the context processor
    ``django.template.context_processors.request`` is set.
    """
    request = context["request"]
    if not request.user.is_authenticated:
        return []
    return own_first(list_sessions(request.user, request))


@register.inclusion_tag("django_multisession/session_end_warning.html", takes_context=True)
def session_end_warning(context: Mapping[str, Any], warn_before: int = 120) -> dict[str, Any]:
    """Load the script that warns a user before the session ends.

    On a page without a user it tells the browser's other tabs. The template needs the request; see
    `user_sessions`.

    Args:
        context: Of the template.
        warn_before: How many seconds before the end.
    """
    request = context["request"]
    user, match = request.user, request.resolver_match
    return {
        "url": reverse("user_sessions:time_left", current_app=match and match.namespace),
        "login_url": resolve_url(conf.given("LOGIN_URL")),
        "csrf_token": get_token(request) if user.is_authenticated else "",
        "warn_before": warn_before,
        **(seconds_left(session_of(request), user) if user.is_authenticated else {}),
    }


@register.simple_tag
def relative_time(at: datetime) -> SafeString:
    """Return *at* as in "3 minutes ago" or "in 13 days"; the date is what a pointer shows."""
    return _time(at, in_words(at), title=_date(at))


@register.simple_tag
def absolute_time(at: datetime) -> SafeString:
    """Return *at* as a date and a time."""
    return _time(at, _date(at))


@register.filter
def in_words(at: datetime) -> str:
    """Return *at* as in "3 minutes ago", as text."""
    return distance_in_words(at, timezone.now())


def distance_in_words(at: datetime, now: datetime) -> str:
    """Return how far *at* is from *now*, in the largest unit that fits, rounded down."""
    distance = abs(now - at)
    for least, unit, ago, ahead in _UNITS:
        if distance >= least:
            count = distance // unit
            return str((ago if at < now else ahead) % {"count": count})
    return gettext("just now") if at <= now else gettext("in less than a minute")


def _date(at: datetime) -> str:
    # Sessions' times are aware whatever USE_TZ says.
    return date_format(timezone.localtime(at), "DATETIME_FORMAT")


def _time(at: datetime, text: str, title: str = "") -> SafeString:
    machine = at.isoformat(timespec="seconds")
    if not title:
        return format_html('<time datetime="{}">{}</time>', machine, text)
    return format_html('<time datetime="{}" title="{}">{}</time>', machine, title, text)
