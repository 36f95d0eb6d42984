"""Rolling deployments: for a while two versions of the code, or of ``SECRET_KEY``, share a store.

What the new part writes, the old part may not be able to read. That is no end of a session: nobody
is logged out by it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from django_multisession.core.records import Record, to_milliseconds
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers import base
from django_multisession.exceptions import OutageKind, StoreUnavailable
from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import log_in, put, read, untouched, user
from tests.web.visits import Body

if TYPE_CHECKING:
    from pytest_django import Settings

NEW_SECRET = "another-secret-" + "y" * 50
SECURITY_LOG = "django.security.SuspiciousSession"


def write_in_a_newer_format(engine: Engine, storage_key: str) -> None:
    """Store what a release to come would: the same record, of another version."""
    stored = base.run(engine.driver.get(storage_key))
    assert isinstance(stored, Record)
    newer = stored.raw[:1] + bytes([stored.raw[1] + 1]) + stored.raw[2:]
    written = stored._replace(revision=bytes(8), raw=SecretBytes(newer))
    now = to_milliseconds(timezone.now())
    base.run(engine.driver.replace(storage_key, written, stored, now))


@pytest.fixture
def unavailable(session_middleware: str) -> int:
    """The status of an answer that needs the session."""
    return 503 if session_middleware == OURS else 500


@pytest.mark.parametrize("body", [read, put(city="Paris"), user], ids=["read", "write", "user"])
def test_a_record_of_a_newer_release_is_an_outage_and_no_end(
    *,
    browser: Browser,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
    unavailable: int,
    body: Body,
) -> None:
    browser.visit(log_in("ada"))
    write_in_a_newer_format(engine, browser.storage_key)
    with caplog.at_level(logging.WARNING, SECURITY_LOG):
        reply = browser.visit(body)
    assert (reply.status, reply.cookies) == (unavailable, {})
    assert not [record for record in caplog.records if record.name == SECURITY_LOG]
    # It is still there, for the part of the site that can read it.
    with pytest.raises(StoreUnavailable) as caught:
        base.run(engine.driver.get(browser.storage_key))
    assert caught.value.kind is OutageKind.UNKNOWN_FORMAT


def test_pages_without_a_session_are_served_meanwhile(browser: Browser, engine: Engine) -> None:
    browser.visit(log_in("ada"))
    write_in_a_newer_format(engine, browser.storage_key)
    reply = browser.visit(untouched)
    assert (reply.status, reply.cookies) == (200, {})


def test_a_record_of_a_newer_release_can_be_ended(browser: Browser, engine: Engine) -> None:
    browser.visit(put(city="Rome"))
    write_in_a_newer_format(engine, browser.storage_key)
    session = engine.SessionStore()
    session.delete(browser.key)
    assert browser.visit(read).answer == {}


def test_one_visitors_record_is_no_outage_of_the_store(
    browser: Browser, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    other = browser.stranger()
    browser.visit(put(city="Rome"))
    other.visit(put(city="Oslo"))
    write_in_a_newer_format(engine, browser.storage_key)
    browser.visit(read)
    assert other.visit(read).answer == {"city": "Oslo"}
    assert "Sessions are unavailable" not in caplog.text


def test_a_secret_that_is_new_on_some_machines_logs_no_one_out(
    browser: Browser, engine: Engine, settings: Settings, unavailable: int
) -> None:
    old_secret = settings.SECRET_KEY
    browser.visit(put(city="Rome"))
    other_tab = browser.copy()
    # The new part of the site signs the record and the cookie anew.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_SECRET, [old_secret]
    browser.visit(put(cart=["tea"]))
    # A request that was under way with the old cookie reaches the old part.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = old_secret, []
    reply = other_tab.visit(read)
    assert (reply.status, reply.cookies) == (unavailable, {})
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_SECRET, [old_secret]
    for each in (other_tab, browser):
        assert each.visit(read).answer == {"city": "Rome", "cart": ["tea"]}
