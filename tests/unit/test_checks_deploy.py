"""What `check --deploy` says of settings that leave sessions unprotected."""

from __future__ import annotations

import io
import pickle
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_multisession.middleware import SessionMiddleware as OurSessionMiddleware
from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit.checked_site import found, ids, right_site
from tests.unit.test_checks import OutspokenDriver, driver
from tests.web.serializers import PickleSerializer

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["driver", "right_site"]

DJANGOS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "django_multisession.middleware.SessionMiddleware"
JSON = "django.contrib.sessions.serializers.JSONSerializer"

#: Id → the settings that it is about, and how its hint begins.
EXPOSURES: dict[str, tuple[dict[str, Any], str]] = {
    "W120": ({"SESSION_COOKIE_SECURE": False}, "SESSION_COOKIE_SECURE = True"),
    "W121": ({"SESSION_COOKIE_HTTPONLY": False}, "SESSION_COOKIE_HTTPONLY = True"),
    "W122": ({"SESSION_COOKIE_SAMESITE": "None"}, 'SESSION_COOKIE_SAMESITE = "Lax"'),
    "W123": (
        {"SESSION_SERIALIZER": "tests.web.serializers.PickleSerializer"},
        f'SESSION_SERIALIZER = "{JSON}"',
    ),
    "W124": ({"MULTISESSION_IDLE_TIMEOUT": None}, "MULTISESSION_IDLE_TIMEOUT = "),
    "W125": ({"MULTISESSION_ABSOLUTE_TIMEOUT": None}, "MULTISESSION_ABSOLUTE_TIMEOUT = "),
    "W126": (
        {"SESSION_ENGINE": "django_multisession.engines.memory"},
        'SESSION_ENGINE = "django_multisession.engines.redis"',
    ),
    "W127": (
        {"SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"},
        'SESSION_ENGINE = "django_multisession.engines.redis"',
    ),
}


class SafeByName(PickleSerializer):
    """Its base says what it is."""

    def loads(self, data: bytes) -> Any:
        return super().loads(zlib.decompress(data))


class Harmless:
    """Only what it does says what it is."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class TellsNothing:
    """No JSON, no pickle, and raises nothing."""

    def dumps(self, obj: Any) -> bytes:
        return repr(obj).encode()

    def loads(self, data: bytes) -> Any:
        return {}


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


def expose(settings: Settings, *numbers: str) -> None:
    for number in numbers:
        for name, value in EXPOSURES[number][0].items():
            setattr(settings, name, value)


@for_each("number", EXPOSURES)
@restoring
def test_an_exposed_site_gets_a_warning_with_an_id_and_a_hint(
    settings: Settings, number: str
) -> None:
    expose(settings, number)
    (message,) = found(deploy=True)
    assert message.id == f"multisession.{number}"
    assert message.level == checks.WARNING
    assert " must " in str(message.msg)
    (value,) = EXPOSURES[number][0].values()
    assert f"(got {value!r})" in str(message.msg)
    assert str(message.hint).startswith(EXPOSURES[number][1])


@for_each("number", EXPOSURES)
@restoring
def test_a_site_in_development_may_be_exposed(settings: Settings, number: str) -> None:
    expose(settings, number)
    assert ids() == []


def test_all_that_exposes_a_site_is_reported_together(settings: Settings) -> None:
    expose(settings, *(number for number in EXPOSURES if number != "W127"))
    # Python's None is no attribute; "None" without Secure is an error already.
    settings.SESSION_COOKIE_SAMESITE = None
    expected = ["W120", "W121", "W122", "W124", "W125", "W126", "W123"]
    assert ids(deploy=True) == [f"multisession.{number}" for number in expected]


def test_what_exposes_a_site_is_told_beside_what_is_wrong(settings: Settings) -> None:
    expose(settings, "W120", "W124")
    settings.MULTISESSION_MAX_SIZE = 0
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = "month"
    assert sorted(ids(deploy=True)) == [
        "multisession.E002",
        "multisession.E008",
        "multisession.W120",
        "multisession.W124",
    ]


def test_the_server_is_asked_also_where_a_site_is_exposed(
    settings: Settings, driver: OutspokenDriver
) -> None:
    expose(settings, "W120")
    settings.SESSION_COOKIE_NAME = "__Host-sessionid"
    assert sorted(ids(deploy=True)) == [
        "multisession.E015",
        "multisession.W120",
        "multisession.W999",
    ]


@for_each("value", [None, False, "", "None", "none"])
@restoring
def test_a_cookie_that_every_site_can_send_is_a_warning(settings: Settings, value: Any) -> None:
    settings.SESSION_COOKIE_SAMESITE = value
    assert ids(deploy=True) == ["multisession.W122"]


@for_each("value", ["Lax", "lax", "Strict", "strict"])
@restoring
def test_a_cookie_that_other_sites_cannot_send_is_right(settings: Settings, value: str) -> None:
    settings.SESSION_COOKIE_SAMESITE = value
    assert ids(deploy=True) == []


@for_each("name", ["sessionid", "__Secure-sessionid", "__Host-sessionid"])
@restoring
def test_a_name_without_a_prefix_is_no_exposure(settings: Settings, name: str) -> None:
    settings.SESSION_COOKIE_NAME = name
    assert ids(deploy=True) == []


@for_each(
    "serializer",
    [
        "tests.web.serializers.PickleSerializer",
        "django_redis.serializers.pickle.PickleSerializer",
        f"{__name__}.SafeByName",
        f"{__name__}.Harmless",
    ],
)
@restoring
def test_a_serializer_that_unpickles_is_a_warning(settings: Settings, serializer: str) -> None:
    settings.SESSION_SERIALIZER = serializer
    (message,) = found(deploy=True)
    assert message.id == "multisession.W123"
    assert repr(serializer) in str(message.msg)


@for_each("serializer", [JSON, f"{__name__}.TellsNothing"])
@restoring
def test_a_serializer_that_does_not_unpickle_is_right(settings: Settings, serializer: str) -> None:
    settings.SESSION_SERIALIZER = serializer
    assert ids(deploy=True) == []


def test_a_timeout_that_is_wrong_is_not_told_as_switched_off_too(settings: Settings) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = 0
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = 0
    assert ids(deploy=True) == ["multisession.E001", "multisession.E002"]


def test_nothing_else_is_asked_of_a_site_with_another_engine(settings: Settings) -> None:
    expose(settings, *EXPOSURES)
    assert ids(deploy=True) == ["multisession.W127"]


# A site that leaves

DB = "django.contrib.sessions.backends.db"
FILE = "django.contrib.sessions.backends.file"


@for_each(
    ("engine", "migrate_from", "hint"),
    [
        (DB, None, 'SESSION_ENGINE = "django_multisession.engines.database", or remove '),
        (FILE, None, 'SESSION_ENGINE = "django_multisession.engines.redis", or remove '),
        (FILE, DB, 'SESSION_ENGINE = "django_multisession.engines.redis", or remove '),
        (
            DB,
            "django_multisession.engines.memory",
            'While sessions go back, add "multisession.W127" to SILENCED_SYSTEM_CHECKS.',
        ),
    ],
)
@restoring
def test_the_hint_at_another_engine_fits_the_site(
    settings: Settings, engine: str, migrate_from: str | None, hint: str
) -> None:
    settings.SESSION_ENGINE = engine
    if migrate_from is not None:
        settings.MULTISESSION_MIGRATE_FROM = migrate_from
    (message,) = [each for each in found(deploy=True) if each.id == "multisession.W127"]
    assert str(message.hint).startswith(hint)


# Under Django's session middleware


class SessionMiddlewareOfTheSite(SessionMiddleware):
    """Made from Django's."""


class OurMiddlewareOfTheSite(OurSessionMiddleware):
    """Made from this package's."""


@for_each(
    ("path", "hint"),
    [
        (DJANGOS_MIDDLEWARE, f'In MIDDLEWARE, replace "{DJANGOS_MIDDLEWARE}" with "{OURS}".'),
        (f"{__name__}.SessionMiddlewareOfTheSite", f' inherit from "{OURS}".'),
    ],
)
@restoring
def test_what_djangos_middleware_leaves_out_is_an_info(
    settings: Settings, path: str, hint: str
) -> None:
    settings.MIDDLEWARE = [path, *settings.MIDDLEWARE[1:]]
    (message,) = found(deploy=True)
    assert (message.id, message.level) == ("multisession.I130", checks.INFO)
    assert repr(path) in str(message.msg)
    for lost in ("503", "cookies of one name", "Cache-Control", "threads"):
        assert lost in str(message.msg)
    assert hint in str(message.hint)


def test_an_info_stops_no_deployment(settings: Settings) -> None:
    settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE[1:]]
    err = io.StringIO()
    others = {message.id for message in checks.run_checks(include_deployment_checks=True)}
    settings.SILENCED_SYSTEM_CHECKS = others - {"multisession.I130"}
    call_command("check", "--deploy", "--fail-level", "WARNING", stdout=io.StringIO(), stderr=err)
    assert "(multisession.I130)" in err.getvalue()


def test_a_site_in_development_may_have_djangos_middleware(settings: Settings) -> None:
    settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE[1:]]
    assert ids() == []


@for_each("paths", [[OURS], [f"{__name__}.OurMiddlewareOfTheSite"], []])
@restoring
def test_no_middleware_of_djangos_is_no_info(settings: Settings, paths: list[str]) -> None:
    settings.MIDDLEWARE = paths
    assert ids(deploy=True) == []


def test_djangos_engine_needs_no_other_middleware(settings: Settings) -> None:
    expose(settings, "W127")
    settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE[1:]]
    assert ids(deploy=True) == ["multisession.W127"]


# Beside Django's checks of the same settings


def told(setting: str, settings: Settings) -> list[str]:
    """Return the ids of what anybody's check says when *setting* is switched off."""
    before = {message.id for message in checks.run_checks(include_deployment_checks=True)}
    setattr(settings, setting, False)
    after = {message.id for message in checks.run_checks(include_deployment_checks=True)}
    return [str(check_id) for check_id in after - before]


@for_each("has_middleware", [False, True])
@for_each(
    "app",
    ["django.contrib.sessions", "django.contrib.sessions.apps.SessionsConfig", None],
)
@for_each(
    ("setting", "ours", "djangos"),
    [
        ("SESSION_COOKIE_SECURE", "W120", ("W010", "W011", "W012")),
        ("SESSION_COOKIE_HTTPONLY", "W121", ("W013", "W014", "W015")),
    ],
)
@restoring
def test_a_missing_protection_is_told_once_by_django_or_by_us(
    settings: Settings,
    setting: str,
    ours: str,
    djangos: tuple[str, str, str],
    app: str | None,
    has_middleware: bool,
) -> None:
    if app:
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, app]
    if has_middleware:
        settings.MIDDLEWARE = [DJANGOS_MIDDLEWARE, *settings.MIDDLEWARE[1:]]
    has_app = app == "django.contrib.sessions"
    by_app, by_middleware, by_both = djangos
    expected = {
        (False, False): f"multisession.{ours}",
        (True, False): f"security.{by_app}",
        (False, True): f"security.{by_middleware}",
        (True, True): f"security.{by_both}",
    }[has_app, has_middleware]
    assert told(setting, settings) == [expected]


# Silencing


@for_each("number", EXPOSURES)
@restoring
def test_a_warning_can_be_silenced_by_its_id(settings: Settings, number: str) -> None:
    expose(settings, number)
    out, err = io.StringIO(), io.StringIO()
    call_command("check", "--deploy", "--tag", "security", stdout=out, stderr=err)
    assert f"(multisession.{number})" in err.getvalue()
    settings.SILENCED_SYSTEM_CHECKS = [f"multisession.{number}"]
    out, err = io.StringIO(), io.StringIO()
    call_command("check", "--deploy", "--tag", "security", stdout=out, stderr=err)
    assert "multisession." not in err.getvalue()


def test_an_error_can_be_silenced_by_its_id(settings: Settings) -> None:
    settings.MULTISESSION_OF_THE_SITES_OWN = 1
    with pytest.raises(SystemCheckError):
        call_command("check", "--tag", "security")
    settings.SILENCED_SYSTEM_CHECKS = ["multisession.E014"]
    out = io.StringIO()
    call_command("check", "--tag", "security", stdout=out)
    assert "(1 silenced)" in out.getvalue()
