"""What is the cookie engine's own: the form of its cookies, and which copies of one are refused."""

from __future__ import annotations

import base64
import copy
import functools
import pickle
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core import signing as djangos_signing
from django.core.management import call_command
from django.http import HttpRequest
from django.test import Client, override_settings

from django_multisession.core import cookie_keys
from django_multisession.engines.cookie import SessionStore
from django_multisession.exceptions import OutageKind, SessionTooLarge, StoreUnavailable
from django_multisession.settings import conf
from tests.cookie.visits import NAME, Browser

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

USER_ID = "_auth_user_id"


def begin(**entries: Any) -> Browser:
    browser = Browser()
    browser.visit(lambda request: request.session.update(entries))
    return browser


def update(entries: dict[str, Any], request: HttpRequest) -> None:
    request.session.update(entries)


def login(request: HttpRequest) -> None:
    request.session.cycle_key()
    request.session[USER_ID] = "7"


def logout(request: HttpRequest) -> None:
    request.session.flush()


def change(name: str, value: object = 1) -> Any:
    return lambda request: request.session.__setitem__(name, value)


# The cookie


def test_a_cookie_shows_nothing_of_its_session(alone: None) -> None:
    browser = begin(name="visible")
    assert browser.cookie is not None
    assert re.fullmatch(r"[A-Za-z0-9_-]+", browser.cookie)
    assert b"visible" not in base64.urlsafe_b64decode(browser.cookie + "==")
    assert browser.entries() == {"name": "visible"}


def test_a_cookie_that_only_was_read_is_not_set_again(alone: None) -> None:
    browser = begin(a=1)
    cookie = browser.cookie
    browser.entries()
    assert NAME not in browser.response.cookies
    browser.visit(change("b"))
    assert browser.cookie != cookie


@pytest.mark.parametrize("is_browser_length", [False, True])
def test_use_is_noted_in_the_cookie(
    alone: None, settings: Settings, clock: Clock, is_browser_length: bool
) -> None:
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = is_browser_length
    settings.MULTISESSION_IDLE_TIMEOUT = 600
    browser = begin(a=1)
    for _ in range(5):
        clock.advance(seconds=400)
        assert browser.entries() == {"a": 1}
        assert ("max-age" in str(browser.response.cookies[NAME]).lower()) is not is_browser_length
    clock.advance(seconds=601)
    assert browser.entries() == {}


def test_the_timeouts_are_inside_the_cookie(alone: None, settings: Settings, clock: Clock) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=1)
    browser = begin(a=1)
    for _ in range(6):
        clock.advance(timedelta(minutes=9))
        assert browser.entries() == {"a": 1}
    clock.advance(timedelta(minutes=6, seconds=1))
    # A browser keeps a cookie for as long as it likes.
    assert browser.entries() == {}


def test_a_cookie_opens_under_its_own_name_only(alone: None, settings: Settings) -> None:
    browser = begin(a=1)
    settings.SESSION_COOKIE_NAME = "sessioni"
    assert SessionStore(browser.cookie).load() == {}
    settings.SESSION_COOKIE_NAME = NAME
    assert SessionStore(browser.cookie).load() == {"a": 1}


def test_a_cookie_opens_in_its_own_namespace_only(alone: None, settings: Settings) -> None:
    browser = begin(a=1)
    settings.MULTISESSION_NAMESPACE = "elsewhere"
    assert SessionStore(browser.cookie).load() == {}


def test_a_fallback_opens_a_cookie_which_is_then_encrypted_again(
    alone: None, settings: Settings
) -> None:
    browser = begin(a=1)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret " * 4
    assert browser.entries() == {"a": 1}
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.entries() == {"a": 1}


def test_a_copy_of_a_session_object_holds_what_it_came_with(alone: None) -> None:
    cookie = begin(a=1).cookie
    for duplicate in (
        copy.deepcopy(SessionStore(cookie)),
        pickle.loads(pickle.dumps(SessionStore(cookie))),
    ):
        assert duplicate.load() == {"a": 1}


def test_of_two_cookies_of_one_session_the_later_used_is_taken(alone: None, clock: Clock) -> None:
    browser = begin(a=1)
    older = browser.cookie or ""
    clock.advance(seconds=61)
    browser.visit(change("b"))
    newer = browser.cookie or ""
    for sent in ([older, newer], [newer, older]):
        session = SessionStore(sent[0])
        session.offer_keys(sent[1:])
        assert dict(session.items()) == {"a": 1, "b": 1}


def test_djangos_test_client_logs_in_and_out(
    revocable: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = ["django_multisession.middleware.SessionMiddleware"]
    client = Client()
    session = client.session
    session["cart"] = 1
    session.save()
    # The key that the client took before the save holds no entries yet.
    client.cookies[NAME] = session.session_key or ""
    assert client.session["cart"] == 1
    cookie = client.cookies[NAME].value
    client.session.flush()
    assert SessionStore(cookie).load() == {}


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_clearsessions_has_nothing_to_remove(cookie_engine: str, options: tuple[str, ...]) -> None:
    call_command("clearsessions", *options, verbosity=0)


# Its size


@pytest.mark.parametrize("user", [None, "7", "é" * 20])
def test_no_cookie_is_longer_than_browsers_take(
    alone: None, settings: Settings, user: str | None
) -> None:
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSION_COOKIE_DOMAIN = ".sessions.shop.example"
    settings.SESSION_COOKIE_SAMESITE = "Strict"
    most = 0
    for size in range(2400, 2800, 7):
        browser = Browser()
        entries = {"x": "x" * size} | ({} if user is None else {USER_ID: user})
        try:
            browser.visit(functools.partial(update, entries))
        except SessionTooLarge:
            continue
        assert most in (0, size - 7)
        most = size
        assert browser.entries() == entries
        header = begin(**entries).response.cookies[NAME].OutputString()
        assert len(header) <= cookie_keys.COOKIE_LIMIT
    assert 2500 < most < 2750


def test_an_error_names_the_biggest_entries(alone: None) -> None:
    session = SessionStore()
    session.update({"small": 1, "cart": "x" * 2000, "history": "x" * 3000, "token": "x" * 100})
    with pytest.raises(
        SessionTooLarge, match=r"'history' with 3014 .*'cart' with 2011 .*'token'"
    ) as e:
        session.save()
    assert "xxxx" not in str(e.value)


def test_equally_long_entries_make_equally_long_cookies(alone: None) -> None:
    # A compressed "aaaa…" would be shorter, and tell what is in it.
    lengths = {len(begin(x=text).cookie or "") for text in ("a" * 2000, "0123456789" * 200)}
    assert len(lengths) == 1


# Refused copies


def test_no_copy_of_a_session_is_taken_after_its_logout(revocable: None, clock: Clock) -> None:
    browser = begin(a=1)
    browser.visit(login)
    captured = [browser.cookie]
    browser.visit(change("b"))
    captured.append(browser.cookie)
    browser.visit(logout)
    assert browser.cookie is None
    for seconds in (0, 61, 86_400, 86_400 * 12):
        clock.advance(seconds=seconds)
        for cookie in captured:
            thief = Browser(cookie)
            assert thief.entries() == {}
            assert SessionStore().exists(cookie) is False


def test_a_copy_with_a_longer_life_is_refused_for_as_long_as_that_lasts(
    revocable: None, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=12)
    settings.MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT = timedelta(days=90)
    browser = begin(**{USER_ID: "7"})
    thief = Browser(browser.cookie)
    thief.visit(lambda request: request.session.set_expiry(86_400 * 365))
    browser.visit(logout)
    for _ in range(9):
        clock.advance(timedelta(days=10) - timedelta(seconds=1))
        assert thief.entries() == {}


def test_a_copy_from_before_a_login_is_refused_after_it(revocable: None) -> None:
    browser = begin(a=1)
    before = browser.cookie
    browser.visit(login)
    assert browser.entries() == {"a": 1, USER_ID: "7"}
    assert Browser(before).entries() == {}


def test_a_request_that_overlaps_a_logout_brings_nothing_back(revocable: None) -> None:
    browser = begin(**{USER_ID: "7"})
    other = Browser(browser.cookie)

    def slow(request: HttpRequest) -> None:
        assert request.session[USER_ID] == "7"
        browser.visit(logout)
        request.session["late"] = 1

    with pytest.raises(SessionInterrupted):
        other.visit(slow)
    assert Browser(other.cookie).entries() == {}


def test_a_logout_by_an_old_cookie_ends_what_the_session_became(revocable: None) -> None:
    browser = begin(**{USER_ID: "7"})
    late = Browser(browser.cookie)
    browser.visit(lambda request: request.session.cycle_key())
    assert browser.entries() == {USER_ID: "7"}
    late.visit(logout)
    assert browser.entries() == {}


def test_a_client_begins_a_new_session_when_the_logout_is_a_minute_old(
    revocable: None, clock: Clock
) -> None:
    browser = begin(**{USER_ID: "7"})
    # Its response got lost.
    Browser(browser.cookie).visit(logout)
    with pytest.raises(SessionInterrupted):
        browser.visit(change("cart"))
    clock.advance(seconds=61)
    browser.visit(change("cart"))
    assert browser.entries() == {"cart": 1}


def test_without_revocations_a_copy_stays_valid_after_a_logout(alone: None) -> None:
    browser = begin(**{USER_ID: "7"})
    captured = browser.cookie
    browser.visit(logout)
    assert browser.cookie is None
    assert Browser(captured).entries() == {USER_ID: "7"}


def test_of_two_requests_at_once_the_browser_keeps_the_last_response(cookie_engine: str) -> None:
    browser = begin(a=1)
    other = Browser(browser.cookie)
    browser.visit(change("b"))
    other.visit(change("c"))
    assert browser.entries() == {"a": 1, "b": 1}
    assert other.entries() == {"a": 1, "c": 1}


# The server that keeps the ends


def lost(settings: Settings) -> None:
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1"}


def test_without_an_answer_about_ends_no_session_opens_and_the_cookie_is_kept(
    revocable: None, settings: Settings
) -> None:
    browser = begin(**{USER_ID: "7"})
    cookie, redis = browser.cookie, settings.MULTISESSION_REDIS
    lost(settings)
    browser.entries()
    assert browser.response.status_code == 503
    browser.visit(logout)
    assert browser.response.status_code == 503
    settings.MULTISESSION_REDIS = redis
    assert browser.cookie == cookie
    assert browser.entries() == {USER_ID: "7"}


def test_a_new_session_needs_no_server(revocable: None, settings: Settings) -> None:
    lost(settings)
    browser = begin(a=1)
    assert browser.cookie is not None


def test_what_a_newer_release_wrote_is_a_fault_of_the_deployment(alone: None) -> None:
    browser = begin(a=1)
    config, context = conf.config(), cookie_keys.context(NAME, b"")
    held = cookie_keys.decode(browser.cookie, config.cookie_keys, context)
    assert held is not None
    newer = held.raw[:1] + b"\x02" + held.raw[2:]
    cookie = cookie_keys.encode(held.storage_key, newer, config.cookie_keys, context)
    with pytest.raises(StoreUnavailable) as caught:
        SessionStore(cookie).load()
    assert caught.value.kind is OutageKind.UNKNOWN_FORMAT


# What was never a cookie of this site


def test_another_sites_cookie_is_no_session(alone: None) -> None:
    cookie = begin(a=1).cookie
    with override_settings(SECRET_KEY="elsewhere " * 6):
        assert SessionStore(cookie).load() == {}


def test_values_of_other_engines_are_no_session(alone: None, settings: Settings) -> None:
    signed = djangos_signing.dumps({"a": 1}, salt="django.contrib.sessions.backends.signed_cookies")
    for value in (signed, "k" * 40, "0123456789abcdefghijklmnopqrstuv"):
        assert SessionStore(value).load() == {}


def test_a_cookie_encrypted_for_another_purpose_is_no_session(alone: None) -> None:
    config = conf.config()
    for context in (b"", b"9:sessionid", cookie_keys.context("", b"sessionid")):
        cookie = cookie_keys.encode("00" * 16, b"", config.cookie_keys, context)
        good = cookie_keys.context(NAME, b"")
        assert cookie_keys.decode(cookie, config.cookie_keys, good) is None


def test_a_cookie_has_one_text(alone: None) -> None:
    ring, context = conf.config().cookie_keys, cookie_keys.context(NAME, b"")
    for rest in range(3):
        cookie = cookie_keys.encode("00" * 16, bytes(rest), ring, context)
        others = {cookie + "=", cookie + "==", cookie + "A", f" {cookie}", cookie[:-1] + "\n"}
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/"
        others |= {cookie[:-1] + last for last in alphabet} - {cookie}
        assert [cookie_keys.decode(each, ring, context) for each in others] == [None] * len(others)


def test_no_text_of_a_session_key_or_its_site_holds_the_session(alone: None) -> None:
    session = SessionStore(begin(name="precious").cookie)
    session.load()
    held = session._inner
    assert "precious" not in repr(held.state) + repr(held.key) + repr(held.site)
