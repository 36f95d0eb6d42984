"""Django's settings for the session cookie are honoured, also where the cookie is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as site_settings

from tests.conftest import Clock
from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.pages import log_out, put, read

if TYPE_CHECKING:
    from pytest_django import Settings


def test_the_cookie_has_the_name_that_the_site_chose(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.SESSION_COOKIE_NAME = "__Host-shop"
    settings.SESSION_COOKIE_SECURE = True
    assert set(browser.visit(put(city="Rome")).cookies) == {"__Host-shop"}
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_cookie_of_another_name_is_no_session(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    settings.SESSION_COOKIE_NAME = "shop"
    reply = browser.visit(read)
    assert reply.answer == {}
    assert reply.cookies == {}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("path", "/shop/"),
        ("domain", "shop.example"),
        ("secure", True),
        ("secure", False),
        ("httponly", True),
        ("httponly", False),
        ("samesite", "Strict"),
        ("samesite", "None"),
    ],
)
def test_the_cookie_has_the_attributes_that_the_site_chose(
    browser: Browser, engine: Engine, settings: Settings, attribute: str, value: Any
) -> None:
    setattr(settings, f"SESSION_COOKIE_{attribute.upper()}", value)
    reply = browser.visit(put(city="Rome"))
    assert reply.cookie is not None
    assert reply.cookie[attribute] == (value or "")


def test_the_cookie_has_the_age_that_the_site_chose(
    browser: Browser, engine: Engine, settings: Settings, clock: Clock
) -> None:
    settings.SESSION_COOKIE_AGE = 600
    reply = browser.visit(put(city="Rome"))
    assert reply.cookie is not None
    assert reply.cookie["max-age"] == 600


def test_the_deletion_cookie_has_the_path_domain_and_samesite_of_the_cookie(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.SESSION_COOKIE_PATH = "/shop/"
    settings.SESSION_COOKIE_DOMAIN = "shop.example"
    settings.SESSION_COOKIE_SAMESITE = "Strict"
    browser.visit(put(city="Rome"))
    reply = browser.visit(log_out)
    assert reply.deletes_the_cookie
    assert reply.cookie is not None
    assert reply.cookie["path"] == "/shop/"
    assert reply.cookie["domain"] == "shop.example"
    assert reply.cookie["samesite"] == "Strict"


def test_a_browser_length_cookie_has_no_age(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    reply = browser.visit(put(city="Rome"))
    assert reply.cookie is not None
    assert reply.cookie["max-age"] == reply.cookie["expires"] == ""
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_site_of_several_domains_may_set_the_cookies_attributes_for_each_request(
    browser: Browser, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As published recipes do in a middleware: assigned, so that no signal tells of it.
    for host in ("north.example", "south.example"):
        monkeypatch.setattr(site_settings, "SESSION_COOKIE_DOMAIN", host)
        monkeypatch.setattr(site_settings, "SESSION_COOKIE_NAME", host.partition(".")[0])
        reply = browser.visit(put(city=host))
        assert reply.cookie is not None
        assert reply.cookie["domain"] == host
        assert browser.visit(read).answer == {"city": host}
