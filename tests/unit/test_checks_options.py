"""What `check` says of options that the engine's library refuses: names, and what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_multisession.drivers.redis.address import located
from django_multisession.testing.rows import for_each
from tests.rows import restoring
from tests.unit.checked_site import found, right_site
from tests.unit.test_engine import ENGINES

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["right_site"]

PASSWORD = "hunter2"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGOS = "django.core.cache.backends.redis.RedisCache"

URL_EXPECTED = 'MULTISESSION_REDIS["URL"] must be a redis://, rediss:// or unix:// URL'
URI_EXPECTED = 'MULTISESSION_MONGODB["URI"] must be a mongodb:// or mongodb+srv:// URI'
ALIAS_EXPECTED = 'MULTISESSION_REDIS["CACHE_ALIAS"] must name a cache on Redis'
OPTIONS_EXPECTED = "MULTISESSION_MONGODB must hold options that PyMongo takes"


@pytest.fixture(autouse=True)
def site(right_site: Settings) -> Settings:
    return right_site


def message_about(settings: Settings, engine: str, options: dict[str, Any]) -> str:
    """Return the one thing that is said of *options*, having seen its id, hint and silence."""
    settings.SESSION_ENGINE = f"django_multisession.engines.{engine}"
    setattr(settings, f"MULTISESSION_{engine.upper()}", options)
    (message,) = found()
    assert message.id == "multisession.E011"
    assert message.level == checks.ERROR
    assert message.hint == ENGINES[engine].example
    assert PASSWORD not in repr(message)
    return str(message.msg)


@for_each("engine", ["redis", "mongodb"])
@for_each(
    ("address", "told"),
    [
        (None, "None"),
        ("", "''"),
        (6379, "int"),
        ([PASSWORD], "list"),
        (f"127.0.0.1:{PASSWORD}", "something else"),
        (f"http://:{PASSWORD}@127.0.0.1", "something else"),
    ],
)
@restoring
def test_what_is_no_address_is_told_without_it(
    settings: Settings, engine: str, address: Any, told: str
) -> None:
    name, expected = {"redis": ("URL", URL_EXPECTED), "mongodb": ("URI", URI_EXPECTED)}[engine]
    assert message_about(settings, engine, {name: address}) == f"{expected} (got {told})."


@for_each("scheme", ["mongodb", "mongodb+srv"])
@restoring
def test_what_is_a_uri_is_right(settings: Settings, scheme: str) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.mongodb"
    settings.MULTISESSION_MONGODB = {"URI": f"{scheme}://cluster.shop.example"}
    assert found() == []


@for_each(
    ("options", "told"),
    [
        ({"maxPolSize": PASSWORD}, "the unknown option maxPolSize: is it maxpoolsize?"),
        ({"MAXPOOLSISE": 1}, "the unknown option MAXPOOLSISE: is it maxpoolsize?"),
        ({"zzz": PASSWORD}, "the unknown option zzz"),
        ({"maxPoolSize": PASSWORD}, "a wrong value of maxPoolSize"),
        ({"tlsCAFile": f"/{PASSWORD}"}, "a wrong value of tlsCAFile"),
        (
            {"timeoutMS": PASSWORD, "zzz": 1, "maxPoolSize": 5, "port": 1},
            "the unknown option zzz, a wrong value of timeoutMS",
        ),
    ],
)
@restoring
def test_options_that_pymongo_refuses_are_named(
    settings: Settings, options: dict[str, Any], told: str
) -> None:
    options = {"URI": "mongodb://127.0.0.1:1", "OPTIONS": options}
    assert message_about(settings, "mongodb", options) == f"{OPTIONS_EXPECTED} (got {told})."


@for_each(
    ("options", "told"),
    [
        ({"DATABASE": f"{PASSWORD} x"}, "InvalidName"),
        ({"OPTIONS": {"port": PASSWORD}}, "TypeError"),
        ({"URI": f"mongodb://me:{PASSWORD}@x@:y"}, "InvalidURI"),
    ],
)
@restoring
def test_what_else_pymongo_refuses_is_told_by_its_class(
    settings: Settings, options: dict[str, Any], told: str
) -> None:
    options = {"URI": "mongodb://127.0.0.1:1", **options}
    expected = f"MULTISESSION_MONGODB must be what PyMongo takes (got {told})."
    assert message_about(settings, "mongodb", options) == expected


@for_each("alias", ["sessions", None, ["sessions"]])
@restoring
def test_an_alias_that_there_is_none_of_is_told(settings: Settings, alias: Any) -> None:
    told = message_about(settings, "redis", {"CACHE_ALIAS": alias})
    assert told == f"{ALIAS_EXPECTED} (got {alias!r}: CACHES has no {alias!r})."


@for_each("backend", [LOCMEM, "django.core.cache.backends.dummy.DummyCache"])
@restoring
def test_an_alias_of_another_cache_is_told_with_what_it_is(
    settings: Settings, backend: str
) -> None:
    location = f"redis://:{PASSWORD}@127.0.0.1:1"
    settings.CACHES = {
        "default": {"BACKEND": LOCMEM},
        "sessions": {"BACKEND": backend, "LOCATION": location},
    }
    told = message_about(settings, "redis", {"CACHE_ALIAS": "sessions"})
    finding = f"its BACKEND is {backend!r} and must be {DJANGO_REDIS!r} or {DJANGOS!r}"
    assert told == f"{ALIAS_EXPECTED} (got 'sessions': {finding})."


def test_an_alias_of_a_cache_that_there_is_none_of_is_told(settings: Settings) -> None:
    # Of the driver: in `check`, Django raises at it before us.
    settings.CACHES = {"default": {"BACKEND": "django_redis.RedisCache"}}
    with pytest.raises(ImproperlyConfigured) as caught:
        located({"CACHE_ALIAS": "default"})
    finding = (
        f"its BACKEND is 'django_redis.RedisCache' and must be {DJANGO_REDIS!r} or {DJANGOS!r}"
    )
    assert str(caught.value) == f"{ALIAS_EXPECTED} (got 'default': {finding})."


@for_each(
    "cache",
    [
        {"LOCATION": f"{PASSWORD}@127.0.0.1"},
        {
            "LOCATION": f"redis://:{PASSWORD}@127.0.0.1",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"},
        },
    ],
)
@restoring
def test_what_is_wrong_with_a_django_redis_cache_is_told_by_its_class(
    settings: Settings, cache: dict[str, Any]
) -> None:
    settings.CACHES = {
        "default": {"BACKEND": LOCMEM},
        "sessions": cache | {"BACKEND": DJANGO_REDIS},
    }
    told = message_about(settings, "redis", {"CACHE_ALIAS": "sessions"})
    assert told.startswith(f"{ALIAS_EXPECTED} (got 'sessions': ")
    assert "BACKEND" not in told
