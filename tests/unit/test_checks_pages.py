"""What `manage.py check` reports of the pages of sessions, in the site and in the admin."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from django.urls import clear_url_caches, include, path

from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit.checked_site import OWN_ENGINE, found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

OURS = "django_multisession.engines."
ADMIN = "django_multisession.session_admin"


def include_pages(settings: Settings, included: Any) -> None:
    urls: Any = types.ModuleType("urls_with_pages")
    urls.urlpatterns = [path("account/sessions/", include(included))]
    settings.ROOT_URLCONF = urls
    clear_url_caches()


@for_each(
    ("engine", "expected"),
    [
        (f"{OURS}memory", []),
        (f"{OURS}cookie", ["multisession.W063"]),
        ("django.contrib.sessions.backends.signed_cookies", ["multisession.W063"]),
        # A store that finds its driver by itself may find one that lists sessions.
        (OWN_ENGINE, []),
    ],
)
def test_pages_of_sessions_need_an_engine_that_finds_them(
    right_site: Settings, engine: str, expected: list[str]
) -> None:
    # The table runs in one test.
    right_site.SESSION_ENGINE, right_site.ROOT_URLCONF = engine, "tests.urls"
    clear_url_caches()
    assert ids() == []
    include_pages(right_site, "django_multisession.user_sessions.urls")
    assert ids() == expected
    assert all(engine in message.msg for message in found())


@for_each("app_name", ["user_sessions", "other"])
@restoring
def test_pages_of_another_app_are_not_judged(right_site: Settings, app_name: str) -> None:
    right_site.SESSION_ENGINE = f"{OURS}cookie"
    include_pages(right_site, ([], app_name))
    assert ids() == []


def test_a_broken_url_configuration_is_left_to_djangos_checks(right_site: Settings) -> None:
    right_site.SESSION_ENGINE = f"{OURS}cookie"
    right_site.ROOT_URLCONF = "no.such.module"
    clear_url_caches()
    from django_multisession.settings.checks import check_pages

    assert check_pages() == []


@for_each(
    ("engine", "expected"),
    [(f"{OURS}memory", []), (f"{OURS}cookie", ["multisession.E064"])],
)
def test_the_admin_needs_an_engine_that_lists_sessions(
    right_site: Settings, engine: str, expected: list[str]
) -> None:
    right_site.INSTALLED_APPS = list(dict.fromkeys([*right_site.INSTALLED_APPS, ADMIN]))
    right_site.SESSION_ENGINE = engine
    assert ids() == expected
