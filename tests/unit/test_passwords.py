"""A password of a server is nowhere that people look: not on Django's error page, if the settings allow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import redis
from django.http import HttpResponse
from django.test import RequestFactory
from django.views import debug

from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from django_multisession.testing.rows import for_each
from tests.drivers.redis_fixtures import own_redis
from tests.rows import restoring
from tests.unit.checked_site import found, ids, right_site

if TYPE_CHECKING:
    from pytest_django import Settings
    from servers import RedisServer

__all__ = ["own_redis", "right_site"]

PASSWORD = "-".join(["hunter"] * 3)
OPEN = {
    "redis": {"URL": f"redis://shop:{PASSWORD}@127.0.0.1:1/0"},
    "mongodb": {"URI": f"mongodb://shop:{PASSWORD}@127.0.0.1:1/"},
}
SAFE = {
    "redis": [
        {"URL": "redis://shop@127.0.0.1:1/0", "PASSWORD": PASSWORD},
        {"URL": "redis://127.0.0.1:1/0", "OPTIONS": {"password": PASSWORD}},
    ],
    "mongodb": [
        {"URI": "mongodb://127.0.0.1:1/", "USERNAME": "shop", "PASSWORD": PASSWORD},
        {"URI": "mongodb://127.0.0.1:1/", "OPTIONS": {"username": "shop", "password": PASSWORD}},
    ],
    "memcached": [
        {"SERVERS": ["127.0.0.1:1"], "USERNAME": "shop", "PASSWORD": PASSWORD},
        {"SERVERS": ["127.0.0.1:1"], "OPTIONS": {"username": "shop", "password": PASSWORD}},
    ],
}


def use(settings: Settings, engine: str, options: dict[str, Any]) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{engine}"
    setattr(settings, f"MULTISESSION_{engine.upper()}", options)


def error_page() -> str:
    """Return Django's own page of an error, which shows all settings."""
    error = ValueError("something else")
    response: HttpResponse = debug.technical_500_response(
        RequestFactory().get("/"), type(error), error, None
    )
    return response.content.decode()


@for_each("engine", OPEN)
@restoring
def test_djangos_error_page_shows_the_password_of_an_address(
    right_site: Settings, engine: str
) -> None:
    # So that a Django whose page hides it is noticed.
    use(right_site, engine, OPEN[engine])
    assert PASSWORD in error_page()


@for_each(("engine", "options"), [(engine, each) for engine, all_ in SAFE.items() for each in all_])
@restoring
def test_djangos_error_page_shows_no_password_that_stands_by_itself(
    right_site: Settings, engine: str, options: dict[str, Any]
) -> None:
    use(right_site, engine, options)
    page = error_page()
    assert f"MULTISESSION_{engine.upper()}" in page
    assert PASSWORD not in page


@for_each(
    ("engine", "address"),
    [
        ("redis", f"redis://:{PASSWORD}@127.0.0.1:1/0"),
        ("redis", f"rediss://shop:{PASSWORD}@127.0.0.1:1/0"),
        ("redis", f"unix://shop:{PASSWORD}@/run/redis.sock?db=1"),
        ("redis", f"redis://127.0.0.1:1/0?password={PASSWORD}"),
        ("redis", f"redis://127.0.0.1:1/0?db=1&password={PASSWORD}"),
        ("mongodb", f"mongodb://shop:{PASSWORD}@127.0.0.1:1/"),
        ("mongodb", f"mongodb://shop:{PASSWORD}@127.0.0.1:1,127.0.0.1:2/"),
        ("mongodb", f"mongodb+srv://shop:{PASSWORD}@cluster.shop.example/"),
    ],
)
@restoring
def test_a_password_in_an_address_is_reported_at_deployment(
    right_site: Settings, engine: str, address: str
) -> None:
    key = {"redis": "URL", "mongodb": "URI"}[engine]
    use(right_site, engine, {key: address})
    assert ids() == []
    (message,) = [each for each in found(deploy=True) if each.id == "multisession.W128"]
    assert str(message.msg).startswith(f'MULTISESSION_{engine.upper()}["{key}"] holds a password.')
    assert "PASSWORD" in str(message.hint)
    assert PASSWORD not in repr(message)


@for_each(
    ("engine", "options"),
    [
        *((engine, each) for engine, all_ in SAFE.items() for each in all_),
        ("redis", {"URL": "redis://127.0.0.1:1/0?client_name=a:b@c"}),
        ("redis", {"URL": "unix:///run/redis.sock"}),
        ("mongodb", {"URI": "mongodb://[::1]:1/?appName=a:b"}),
    ],
)
@restoring
def test_an_address_without_a_password_is_right(
    right_site: Settings, engine: str, options: dict[str, Any]
) -> None:
    use(right_site, engine, options)
    assert "multisession.W128" not in ids(deploy=True)


def test_a_password_that_stands_by_itself_opens_the_server(
    own_redis: RedisServer, settings: Settings
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.acl_setuser(
            "shop", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"]
        )
        client.config_set("requirepass", "another")
    address = re.sub(r"//(.*@)?", "//", own_redis.url)
    for options in (
        {"URL": address, "USERNAME": "shop", "PASSWORD": PASSWORD},
        {"URL": address.replace("//", "//shop:wrong@"), "PASSWORD": PASSWORD},
        {"URL": address.replace("//", "//:another@"), "PASSWORD": None},
    ):
        settings.MULTISESSION_REDIS = options
        session = SessionStore()
        session["cart"] = [1]
        session.save()
        assert SessionStore(session.session_key)["cart"] == [1]
    close_drivers()
