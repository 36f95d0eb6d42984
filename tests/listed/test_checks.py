"""What the system checks say of an engine whose sessions another one lists."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import clear_url_caches, include, path

from django_multisession.drivers.base import is_indexed
from django_multisession.engine import close_drivers
from django_multisession.engines.cookie import SessionStore as CookieStore
from django_multisession.engines.memcached import SessionStore
from django_multisession.engines.tiered import SessionStore as TieredStore
from django_multisession.testing.rows import for_each
from tests.unit.checked_site import found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

OURS = "django_multisession.engines."
SERVERS = {"SERVERS": ["127.0.0.1:1"]}
PASSWORD = "hunter2"


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    close_drivers()
    right_site.SESSION_ENGINE = f"{OURS}memcached"
    right_site.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}
    right_site.MULTISESSION_MEMCACHED = SERVERS | {"LISTED_IN": f"{OURS}redis"}
    return right_site


@for_each(
    ("engine", "told"),
    [
        (f"{OURS}memory", f"'{OURS}memory'"),
        (f"{OURS}memcached", f"'{OURS}memcached'"),
        (f"{OURS}cookie", f"'{OURS}cookie'"),
        (f"{OURS}tiered", f"'{OURS}tiered'"),
        ("django.contrib.sessions.backends.db", "'django.contrib.sessions.backends.db'"),
        (f"redis://:{PASSWORD}@127.0.0.1", "a text that isn't a module's path"),
        (6379, "int"),
    ],
)
def test_what_lists_no_sessions_is_reported_without_a_secret(
    settings: Settings, engine: object, told: str
) -> None:
    settings.MULTISESSION_MEMCACHED = SERVERS | {"LISTED_IN": engine}
    (message,) = found()
    assert message.id == "multisession.E045"
    assert str(message.msg).startswith('MULTISESSION_MEMCACHED["LISTED_IN"] must be ')
    assert str(message.msg).endswith(f"(got {told}).")
    with pytest.raises(ImproperlyConfigured, match="LISTED_IN") as caught:
        SessionStore().get_driver()
    assert PASSWORD not in f"{message}{caught.value}"


def test_the_setting_of_the_engine_that_lists_is_judged_too(settings: Settings) -> None:
    settings.MULTISESSION_REDIS = {"LOCATION": "redis://127.0.0.1:1"}
    (message,) = found()
    assert str(message.msg).startswith("MULTISESSION_REDIS must be a dict with")


def test_a_limit_and_pages_need_an_engine_that_lists(settings: Settings) -> None:
    urls: Any = types.ModuleType("urls_with_pages")
    included = include("django_multisession.user_sessions.urls")
    urls.urlpatterns = [path("account/sessions/", included)]
    settings.ROOT_URLCONF = urls
    clear_url_caches()
    settings.MULTISESSION_MAX_SESSIONS = 3
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_multisession.session_admin"]
    assert ids() == []
    settings.MULTISESSION_MEMCACHED = SERVERS
    assert sorted(ids()) == ["multisession.E055", "multisession.E064", "multisession.W063"]
    assert all("LISTED_IN" in str(message.hint) for message in found())


def test_another_setting_of_the_engine_that_lists_opens_another_driver(settings: Settings) -> None:
    before = SessionStore.get_driver()
    assert SessionStore.get_driver() is before
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:2"}
    assert SessionStore.get_driver() is not before


def test_two_tiers_over_it_find_no_sessions(settings: Settings) -> None:
    # Its marks would lie in the back, where no login of the tiered engine looks.
    settings.SESSION_ENGINE = f"{OURS}tiered"
    settings.MULTISESSION_TIERED = {"FRONT": f"{OURS}redis", "BACK": f"{OURS}memcached"}
    assert is_indexed(SessionStore.get_driver())
    assert not is_indexed(TieredStore.get_driver())


def test_a_list_of_cookies_needs_an_engine_that_keeps_ends(settings: Settings) -> None:
    settings.SESSION_ENGINE = f"{OURS}cookie"
    settings.MULTISESSION_COOKIE = {"LISTED_IN": f"{OURS}redis"}
    (message,) = found()
    assert message.id == "multisession.E065"
    assert message.hint == CookieStore.engine.example
    settings.MULTISESSION_COOKIE |= {"REVOCATION": f"{OURS}memcached"}
    assert ids() == []
    assert is_indexed(CookieStore.get_driver())
