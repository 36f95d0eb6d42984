"""Encryption at rest is switched on, its key is replaced, and an old key is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine_fixtures import Engine
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import put, read
from tests.web.test_store_dump import everything_in

if TYPE_CHECKING:
    from pytest_django import Settings

OLD, NEW = "2025-03", "2026-11"
SECRETS: dict[str, str | None] = {OLD: "old-" + "x" * 40, NEW: "new-" + "y" * 40}


def encrypt_with(settings: Settings, writes: str | None, **keys: str | None) -> None:
    settings.MULTISESSION_ENCRYPTION_KEYS = SECRETS | keys
    settings.MULTISESSION_ENCRYPTION_WRITES = writes


def test_signed_sessions_go_on_and_are_encrypted_by_the_next_save(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    encrypt_with(settings, NEW)
    assert browser.visit(read).answer == {"city": "Rome"}
    assert b"Rome" in everything_in(engine, settings)

    browser.visit(put(drink="tea"))

    found = everything_in(engine, settings)
    assert b"Rome" not in found
    assert b"tea" not in found
    assert browser.visit(read).answer == {"city": "Rome", "drink": "tea"}


def test_a_process_that_only_knows_the_key_reads_what_another_encrypts(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    encrypt_with(settings, NEW)
    browser.visit(put(city="Rome"))
    encrypt_with(settings, None)
    assert browser.visit(read).answer == {"city": "Rome"}
    # It writes as before.
    browser.visit(put(drink="tea"))
    assert b"Rome" in everything_in(engine, settings)


def test_a_key_is_replaced_without_anybody_noticing(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    encrypt_with(settings, OLD)
    browser.visit(put(city="Rome"))
    encrypt_with(settings, NEW)
    browser.visit(put(drink="tea"))
    encrypt_with(settings, NEW, **{OLD: None})
    assert browser.visit(read).answer == {"city": "Rome", "drink": "tea"}


def test_what_a_removed_key_wrote_is_no_session(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    encrypt_with(settings, OLD)
    browser.visit(put(city="Rome"))
    encrypt_with(settings, NEW, **{OLD: None})
    assert browser.visit(read).answer == {}


def test_what_an_unknown_key_wrote_is_a_503_and_the_cookie_stays(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    encrypt_with(settings, NEW)
    browser.visit(put(city="Rome"))
    del settings.MULTISESSION_ENCRYPTION_WRITES
    settings.MULTISESSION_ENCRYPTION_KEYS = {OLD: SECRETS[OLD]}
    visit = browser.visit(read)
    assert visit.status == 503
    assert visit.cookies == {}
    encrypt_with(settings, NEW)
    assert browser.visit(read).answer == {"city": "Rome"}


@pytest.fixture
def session_middleware() -> str:
    return OURS
