"""What `manage.py check` reports of a migration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_multisession.testing.rows import for_each
from tests.moving.conftest import DJANGOS
from tests.unit.checked_site import OWN_ENGINE, found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

DB, COOKIES = f"{DJANGOS}.db", f"{DJANGOS}.signed_cookies"
REDIS = "django_multisession.engines.redis"
THEN, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


@pytest.fixture(autouse=True)
def session_middleware(site: Settings) -> None:
    """The site of these tests is checked and not visited."""


def set_all(settings: Settings, **values: Any) -> None:
    for name, value in values.items():
        setattr(settings, f"MULTISESSION_MIGRATE_{name}", value)


@for_each(
    ("values", "expected"),
    [
        ({"FROM": DB, "UNTIL": LATER}, []),
        ({"FROM": COOKIES, "SINCE": THEN, "UNTIL": LATER}, []),
        ({"FROM": COOKIES, "UNTIL": LATER}, ["multisession.E041"]),
        ({"FROM": f"{DJANGOS}.bd", "UNTIL": LATER}, ["multisession.E039"]),
        ({"FROM": REDIS, "UNTIL": LATER}, ["multisession.E009"]),
        ({"FROM": REDIS, "UNTIL": THEN}, ["multisession.W043"]),
        ({"FROM": "django_multisession.engines.memory", "UNTIL": LATER}, []),
        ({"FROM": DB, "UNTIL": THEN}, ["multisession.W043"]),
        ({"UNTIL": LATER}, ["multisession.W043"]),
        ({"SINCE": THEN}, ["multisession.W043"]),
    ],
)
def test_each_wrong_setting_of_a_migration_gets_one_message(
    settings: Settings, values: dict[str, Any], expected: list[str]
) -> None:
    # The table runs in one test.
    set_all(settings, FROM=None, UNTIL=None, SINCE=None)
    for name in ("FROM", "UNTIL", "SINCE"):
        delattr(settings, f"MULTISESSION_MIGRATE_{name}")
    set_all(settings, **values)
    assert ids() == expected


def test_the_engine_that_the_site_left_is_another_than_its_own(settings: Settings) -> None:
    set_all(settings, FROM=settings.SESSION_ENGINE)
    assert ids() == ["multisession.E039"]


def test_an_app_that_was_removed_too_early_is_named(settings: Settings) -> None:
    set_all(settings, FROM="tests.moving.removed_app", UNTIL=LATER)
    (message,) = found()
    assert message.id == "multisession.E039"
    assert "RuntimeError" in message.msg
    assert "INSTALLED_APPS" in str(message.hint)


@for_each("target", [OWN_ENGINE, f"{DJANGOS}.cache"])
def test_the_engine_that_the_site_left_is_opened(settings: Settings, target: str) -> None:
    settings.SESSION_ENGINE = target
    set_all(settings, FROM=REDIS, UNTIL=LATER)
    assert ids() == ["multisession.E009"]
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1/0"}
    assert ids() == []
    del settings.MULTISESSION_REDIS
    set_all(settings, FROM="django_multisession.engines.database")
    assert ids() == []
    with override_settings(INSTALLED_APPS=settings.INSTALLED_APPS[:-1]):
        (message,) = found()
    assert message.id == "multisession.E011"
    assert "django_multisession.database" in message.msg


def test_an_engine_of_the_site_whose_app_was_removed_is_named(settings: Settings) -> None:
    settings.SESSION_ENGINE = "tests.moving.removed_app"
    (message,) = found()
    assert message.id == "multisession.E031"
    assert "RuntimeError as it is opened" in message.msg


@for_each("engine", ["cache", "cached_db"])
def test_a_cache_that_was_removed_too_early_is_named(settings: Settings, engine: str) -> None:
    set_all(settings, FROM=f"{DJANGOS}.{engine}", UNTIL=LATER)
    with override_settings(SESSION_CACHE_ALIAS="sessions"):
        (message,) = found()
    assert message.id == "multisession.E039"
    assert "InvalidCacheBackendError" in message.msg


@for_each(
    ("engine", "is_target"),
    [
        ("cookie", False),
        ("memcached", False),
        ("tiered", False),
        ("database", True),
        ("memory", True),
    ],
)
def test_an_engine_that_can_forget_is_no_target(
    settings: Settings, engine: str, is_target: bool
) -> None:
    path = "django_multisession.engines."
    set_all(settings, FROM=DB, UNTIL=LATER)
    settings.MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:11211"]}
    settings.MULTISESSION_TIERED = {"FRONT": f"{path}database", "BACK": f"{path}memcached"}
    settings.SESSION_ENGINE = f"{path}{engine}"
    assert ids() == ([] if is_target else ["multisession.E042"])


def test_a_deployment_without_an_end_is_warned(settings: Settings) -> None:
    set_all(settings, FROM=DB)
    assert ids(deploy=True) == ["multisession.W129"]
    set_all(settings, UNTIL=timezone.now().replace(year=2099))
    assert ids(deploy=True) == []
