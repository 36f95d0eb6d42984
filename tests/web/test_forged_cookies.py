"""A cookie that the site did not sign: an empty session, one log line, and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.backends import cache, signed_cookies
from django.utils.encoding import force_bytes

from django_multisession import signals
from django_multisession.core import keys
from django_multisession.drivers import base, log_lines
from django_multisession.session import events
from django_multisession.testing.engine.fixtures import heard
from django_multisession.testing.rows import for_each
from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.pages import log_in, put, read, untouched, user
from tests.web.visits import Body, Visit

if TYPE_CHECKING:
    from pytest_django import Settings

LOGGER = "django.security.SuspiciousSession"


def another_sites_key() -> str:
    return keys.make([keys.derive(b"the secret of another site")]).session_key


def own_unknown_key(settings: Settings) -> str:
    """A key that this site signed, of a session that it has not."""
    return keys.make([keys.derive(force_bytes(settings.SECRET_KEY))]).session_key


FORGED = {
    "another site's": another_sites_key(),
    "empty": "",
    "short": "short",
    "one character": "x",
    "quoted": '"quoted"',
    "of capitals": "K3J2H5G6F7D8S9A0Q1W2E3R4T5Y6U7I8",
    "a character short": another_sites_key()[:-1],
    "a character long": another_sites_key() + "A",
    "overlong": "A" * 3000,
    "not ASCII": "ключ" * 10,
    "not UTF-8": "\udcff\udcfe" * 20,
    "full-width": "\uff21" * 40,
    "not base64": "!" * 40,
    "injected": "$ne:{}*?[a-z]\\x00../../etc/passwd",
    "a line break": "A" * 39 + "%0d%0aSet-Cookie:x=y",
}
every_forgery = for_each("forged", FORGED.values(), ids=FORGED)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


def mutated(key: str, place: int) -> str:
    return key[:place] + ("A" if key[place] != "A" else "B") + key[place + 1 :]


@every_forgery
def test_a_forged_cookie_is_an_empty_session_and_is_deleted(
    browser: Browser, engine: Engine, forged: str, count_stored: Count
) -> None:
    browser.key = forged
    reply = browser.visit(read)
    assert reply.status == 200
    assert reply.answer == {}
    assert reply.deletes_the_cookie
    assert count_stored() == 0


@every_forgery
def test_a_forged_cookie_gets_one_log_line_without_its_value(
    browser: Browser, engine: Engine, forged: str, caplog: pytest.LogCaptureFixture
) -> None:
    browser.key = forged
    caplog.clear()
    log_lines.counter.clear()
    with caplog.at_level(logging.DEBUG):
        browser.visit(read)
    assert len(lines(caplog)) == 1
    if len(forged) > 1:
        assert forged not in caplog.text


@pytest.mark.parametrize("body", [untouched, user])
def test_a_forged_cookie_is_deleted_whatever_the_page_does(
    browser: Browser, engine: Engine, body: Body
) -> None:
    browser.key = another_sites_key()
    assert browser.visit(body).deletes_the_cookie


@every_forgery
def test_a_forged_cookie_costs_no_io(
    browser: Browser, network_engine: Engine, unreachable: Callable[[], None], forged: str
) -> None:
    unreachable()
    browser.key = forged
    reply = browser.visit(read)
    assert reply.status == 200
    assert reply.deletes_the_cookie


def test_a_known_key_does_cost_io(
    browser: Browser, network_engine: Engine, unreachable: Callable[[], None], settings: Settings
) -> None:
    unreachable()
    browser.key = own_unknown_key(settings)
    assert browser.visit(read).status in (500, 503)


@for_each("place", [0, 21, 22, 39])
def test_a_key_with_one_other_character_is_forged(
    browser: Browser, engine: Engine, place: int
) -> None:
    browser.visit(put(city="Rome"))
    thief = browser.copy()
    thief.key = mutated(browser.key or "", place)
    reply = thief.visit(read)
    assert reply.answer == {}
    assert reply.deletes_the_cookie
    assert browser.visit(read).answer == {"city": "Rome"}


@every_forgery
def test_a_write_with_a_forged_cookie_begins_a_session_under_a_key_of_ours(
    browser: Browser, engine: Engine, forged: str, count_stored: Count
) -> None:
    browser.key, before = forged, count_stored()
    reply = browser.visit(put(city="Rome"))
    assert reply.status == 200
    assert reply.new_key not in (None, forged)
    assert count_stored() == before + 1
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_login_with_a_forged_cookie_gets_a_key_of_ours(browser: Browser, engine: Engine) -> None:
    browser.key = forged = another_sites_key()
    assert browser.visit(log_in("ada")).new_key not in (None, forged)
    assert browser.visit(user).answer == "ada"


@pytest.mark.parametrize("body", [read, user])
def test_a_signed_key_of_an_unknown_session_is_deleted_and_stores_nothing(
    browser: Browser, engine: Engine, settings: Settings, count_stored: Count, body: Body
) -> None:
    browser.key = own_unknown_key(settings)
    assert browser.visit(body).deletes_the_cookie
    assert count_stored() == 0


async def clear(visit: Visit) -> None:
    visit.store.clear()


async def mark_as_modified(visit: Visit) -> None:
    visit.store.modified = True


@pytest.mark.parametrize("body", [clear, mark_as_modified])
def test_a_signed_key_of_an_unknown_session_is_not_traded_for_an_empty_session(
    browser: Browser, engine: Engine, settings: Settings, count_stored: Count, body: Body
) -> None:
    browser.key = own_unknown_key(settings)
    assert browser.visit(body).deletes_the_cookie
    assert count_stored() == 0


@pytest.mark.parametrize("body", [untouched, read])
def test_a_signed_key_of_an_unknown_session_stores_nothing_also_where_every_request_is_saved(
    browser: Browser, engine: Engine, settings: Settings, count_stored: Count, body: Body
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser.key = own_unknown_key(settings)
    assert browser.visit(body).deletes_the_cookie
    assert count_stored() == 0


def test_a_signed_key_of_an_unknown_session_is_not_adopted_by_a_write(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    # Session fixation: whoever planted the cookie knows its value.
    browser.key = planted = own_unknown_key(settings)
    assert browser.visit(put(city="Rome")).new_key not in (None, planted)
    assert not engine.SessionStore().exists(planted)


@pytest.mark.parametrize("verb", ["save", "create", "cycle_key"])
def test_a_signed_key_of_an_unknown_session_is_not_adopted_by_an_explicit_verb(
    browser: Browser, engine: Engine, settings: Settings, verb: str
) -> None:
    async def body(visit: Visit) -> None:
        await getattr(visit.session, verb)()

    browser.key = planted = own_unknown_key(settings)
    reply = browser.visit(body)
    assert reply.status == 200
    assert browser.key != planted
    assert not engine.SessionStore().exists(planted)


@pytest.mark.parametrize("verb", ["save", "create", "cycle_key", "flush", "delete"])
def test_every_verb_refuses_a_forged_cookie(
    browser: Browser, engine: Engine, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(visit: Visit) -> None:
        await getattr(visit.session, verb)()

    browser.key = forged = another_sites_key()
    reply = browser.visit(body)
    assert reply.status == 200
    assert browser.key != forged
    assert len(lines(caplog)) == 1


# After a switch from another engine


@pytest.mark.parametrize("module", [cache, signed_cookies], ids=lambda module: module.__name__)
@pytest.mark.parametrize("city", ["Rome", "Rome" * 100], ids=["short", "compressed"])
def test_returning_visitors_with_an_old_cookie_are_one_line_a_minute(
    browser: Browser,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
    module: Any,
    city: str,
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(5):
        old = module.SessionStore()
        old["city"] = city
        old.save()
        browser.key = old.session_key
        reply = browser.visit(read)
        assert (reply.answer, reply.deletes_the_cookie) == ({}, True)
        assert old.session_key not in caplog.text
    assert lines(caplog) == []
    told = [record for record in caplog.records if record.msg == events.OLD_COOKIE.text]
    assert [record.levelname for record in told] == ["INFO"]


def test_an_old_cookie_beside_a_forged_one_hides_no_warning(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    session = engine.SessionStore(another_sites_key())
    session.offer_keys(["k3j2h5g6f7d8s9a0q1w2e3r4t5y6u7i8"])
    assert session.load() == {}
    assert len(lines(caplog)) == 1


def test_a_flood_of_forged_cookies_is_sixty_lines_a_minute_and_a_signal_for_each(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with heard(signals.invalid_session_key) as told:
        for _ in range(200):
            assert engine.SessionStore(another_sites_key()).load() == {}
    assert (len(lines(caplog)), len(told)) == (60, 200)


def test_after_a_flood_a_line_counts_the_keys_that_were_left_out(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(200):
        assert engine.SessionStore(another_sites_key()).load() == {}
    caplog.clear()
    now = time.monotonic() + 60
    monkeypatch.setattr(log_lines, "time", SimpleNamespace(monotonic=lambda: now))
    for _ in range(2):
        assert engine.SessionStore(another_sites_key()).load() == {}
    refused = "A session key that this site did not sign was refused."
    assert lines(caplog) == ["Lines like the next one that were left out: 140.", refused, refused]


def test_a_flood_of_spoiled_records_is_sixty_lines_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(200):
        assert base.read(f"key {number}", b"no record") is None
    unreadable = [line for line in caplog.messages if line.endswith("it is no record.")]
    assert len(unreadable) == 60


@pytest.mark.parametrize("is_old", [True, False])
def test_the_signal_says_whether_the_cookie_is_an_old_one(engine: Engine, *, is_old: bool) -> None:
    key = "k3j2h5g6f7d8s9a0q1w2e3r4t5y6u7i8" if is_old else another_sites_key()
    with heard(signals.invalid_session_key) as told:
        assert engine.SessionStore(key).load() == {}
    assert told == [{"is_of_another_engine": is_old}]
