"""Sessions in cookies that Redis lists: what a card shows, hides and proves."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpRequest

from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.core.keys import Verified
from django_multisession.core.records import NEVER, SAVED, Reason, Record
from django_multisession.drivers.base import Purging
from django_multisession.drivers.base import run as carry_out
from django_multisession.drivers.listed.cards import make_card, place_of
from django_multisession.engine import close_drivers
from django_multisession.exceptions import BadPayload
from django_multisession.testing.stored_records import changed
from django_multisession.user_sessions import (
    end_all_sessions,
    end_other_sessions,
    end_session,
    list_sessions,
)
from tests.cookie.visits import Browser
from tests.engine_fixtures import LISTED_COOKIE, Engine, use_engine
from tests.listed.conftest import lose_lists
from tests.unit.test_devices import FIREFOX
from tests.user_sessions.conftest import log_in, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

SECRET = "only the client has this"


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Engine:
    return use_engine(LISTED_COOKIE, settings, running_servers)


@pytest.fixture
def browser(engine: Engine, user: User) -> Browser:
    return logged_in(user)


def logged_in(user: User) -> Browser:
    """Return a browser in which *user* is logged in."""
    browser = Browser()

    def page(request: HttpRequest) -> None:
        log_in(request.session, user)  # type: ignore[arg-type]  # it's this package's
        request.session[USER_AGENT_ENTRY] = FIREFOX
        request.session[ADDRESS_ENTRY] = "192.0.2.0/24"
        request.session["hidden"] = SECRET

    browser.visit(page)
    return browser


def is_in(browser: Browser) -> bool:
    return browser.visit(lambda request: SESSION_KEY in request.session) is True


def place_in(engine: Engine, browser: Browser) -> str:
    """Return the storage key of the session of *browser*."""
    verified = engine.SessionStore(browser.cookie)._recognized.key
    assert verified is not None
    return verified.storage_key


def card_of(engine: Engine, browser: Browser) -> Record:
    card = carry_out(engine.notes.get(place_of(place_in(engine, browser))))
    assert isinstance(card, Record)
    return card


def stored_bytes(settings: Any) -> bytes:
    """Return all that Redis holds of this test."""
    options = settings.MULTISESSION_REDIS
    with redis.Redis.from_url(options["URL"]) as server:
        places = list(server.scan_iter(options["KEY_PREFIX"] + "*", _type="string"))
        return b"".join(value for value in server.mget(places) if value)


def test_another_request_lists_and_ends_a_session(
    engine: Engine, user: User, browser: Browser
) -> None:
    other = logged_in(user)
    shown = list_sessions(user)
    assert {(each.device, each.address) for each in shown} == {("Firefox on Linux", "192.0.2.0/24")}
    (own,) = [
        each
        for each in browser.visit(lambda request: list_sessions(user, request))  # type: ignore[attr-defined]  # a list
        if each.is_current
    ]
    assert end_session(user, own.id)
    assert (is_in(browser), is_in(other)) == (False, True)
    assert len(list_sessions(user)) == 1


def test_a_copy_of_the_cookie_of_an_ended_session_opens_nothing(
    clock: Clock, engine: Engine, user: User, browser: Browser
) -> None:
    copied = Browser(browser.cookie)
    clock.advance(seconds=3600)
    assert end_all_sessions(user) == 1
    # Longer than a tombstone lives.
    clock.advance(seconds=120)
    assert not is_in(copied)


def test_the_others_end(engine: Engine, user: User, browser: Browser) -> None:
    others = [logged_in(user) for _ in range(2)]
    assert browser.visit(end_other_sessions) == 2
    assert [is_in(each) for each in (browser, *others)] == [True, False, False]
    assert len(list_sessions(user)) == 1


def test_a_session_is_listed_as_last_used(
    clock: Clock, engine: Engine, user: User, browser: Browser
) -> None:
    clock.advance(seconds=3600)
    assert is_in(browser)
    (found,) = list_sessions(user)
    assert found.last_used_at == clock.now
    browser.visit(lambda request: request.session.set_expiry(0))
    clock.advance(seconds=61)
    assert is_in(browser)
    (found,) = list_sessions(user)
    assert not found.is_remembered


def test_a_card_holds_no_entry_but_what_a_list_shows(
    settings: Settings, engine: Engine, user: User, browser: Browser
) -> None:
    held = stored_bytes(settings)
    assert FIREFOX.encode() in held
    assert SECRET.encode() not in held


def test_what_a_card_shows_is_encrypted_with_the_sites_keys(
    settings: Settings, engine: Engine, user: User
) -> None:
    settings.MULTISESSION_ENCRYPTION_KEYS = {"first": "of at least thirty-two characters"}
    logged_in(user)
    (found,) = list_sessions(user)
    assert found.user_agent == FIREFOX
    assert FIREFOX.encode() not in stored_bytes(settings)


def test_a_card_opens_nothing_but_its_own_place(
    engine: Engine, user: User, browser: Browser
) -> None:
    place, card = place_in(engine, browser), card_of(engine, browser)
    site = engine.SessionStore()._recognized.site
    with pytest.raises(BadPayload, match="signature"):
        site.open(card, Verified("", place))
    with pytest.raises(BadPayload):
        site.open_listed(card, place_of(place))
    assert site.open_listed(card, place)


def test_what_cards_show_is_encrypted_for_one_place_of_one_tenant(
    settings: Settings, engine: Engine
) -> None:
    contexts = set()
    for tenant, place in itertools.product(("one", "two"), "ab"):
        settings.MULTISESSION_NAMESPACE = tenant
        site: Any = engine.SessionStore()._recognized.site
        contexts |= {site._card_context(place)}
    assert len(contexts) == 4


@pytest.mark.parametrize("verb", ["delete_many", "retire"])
def test_a_request_that_listed_nothing_ends_a_session_by_its_card(
    clock: Clock, engine: Engine, user: User, browser: Browser, verb: str
) -> None:
    place, card = place_in(engine, browser), card_of(engine, browser)
    site = engine.SessionStore()._recognized.site
    driver: Any = site.driver
    left = site.tombstone(Reason.ENDED)
    if verb == "retire":
        assert carry_out(driver.retire(place, card, left, site.now(), NEVER)) == SAVED
    else:
        assert carry_out(driver.delete_many([place], left, user_id=str(user.pk))) == [True]
    assert not is_in(browser)


def test_an_end_of_another_users_session_leaves_this_one(
    clock: Clock, engine: Engine, user: User, browser: Browser
) -> None:
    site = engine.SessionStore()._recognized.site
    driver: Any = site.driver
    left, place = site.tombstone(Reason.ENDED), place_in(engine, browser)
    assert carry_out(driver.delete_many([place], left, user_id=f"not {user.pk}")) == [False]
    assert is_in(browser)


def test_a_request_ends_the_sessions_of_all_users_that_it_listed(
    clock: Clock, engine: Engine, user: User, browser: Browser
) -> None:
    site = engine.SessionStore()._recognized.site
    driver: Any = site.driver
    listed, _ = carry_out(driver.records("", 100_000))
    left = site.tombstone(Reason.ENDED)
    assert carry_out(driver.delete_many([key for key, _ in listed], left)) == [True]
    assert not is_in(browser)


def test_forged_cards_are_not_listed(
    engine: Engine, user: User, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    victim, place, card = make_user(), place_in(engine, browser), card_of(engine, browser)
    changes: list[dict[str, Any]] = [
        {"user_id": str(victim.pk)},
        {"user_id": str(victim.pk), "series": b"x" * 12},
        {"user_id": str(victim.pk), "payload": b"%b {}" % place.encode()},
    ]
    for forged in [*(changed(card, **each) for each in changes), unsigned(place, card, victim)]:
        withdraw(engine, place)
        assert carry_out(engine.notes.add(place_of(place), forged))
        assert list_sessions(victim) == []
        assert end_all_sessions(victim) == 0
    assert is_in(browser)
    assert any(place in line for line in caplog.messages)


def withdraw(engine: Engine, place: str) -> None:
    """Remove what lies where the card of *place* does, tombstones too."""
    server: Any = engine.notes.server
    server.send(("DEL", engine.notes._commands.prefix + place_of(place)))  # type: ignore[attr-defined]  # Redis's


def unsigned(place: str, card: Record, user: User) -> Record:
    return make_card(place, changed(card, user_id=str(user.pk)))


def test_a_card_is_of_its_tenant(settings: Settings, engine: Engine, user: User) -> None:
    settings.MULTISESSION_NAMESPACE = "one"
    logged_in(user)
    settings.MULTISESSION_NAMESPACE = "two"
    assert list_sessions(user) == []
    settings.MULTISESSION_NAMESPACE = "one"
    assert len(list_sessions(user)) == 1


def test_a_rotated_secret_leaves_a_used_session_in_the_list(
    clock: Clock, settings: Settings, engine: Engine, user: User, browser: Browser
) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the next one, which is long enough"
    assert len(list_sessions(user)) == 1
    for _ in range(2):
        clock.advance(seconds=61)
        assert is_in(browser)
    settings.SECRET_KEY_FALLBACKS = []
    assert len(list_sessions(user)) == 1
    assert is_in(browser)


@pytest.mark.parametrize("is_ended", [False, True], ids=["listed again", "ended"])
def test_a_session_whose_card_is_lost(
    clock: Clock,
    settings: Settings,
    engine: Engine,
    user: User,
    browser: Browser,
    is_ended: bool,
) -> None:
    lose_lists(settings)
    clock.advance(seconds=1)
    if is_ended:
        assert end_all_sessions(user) == 0
    clock.advance(seconds=61)
    browser.visit(lambda request: request.session.get(SESSION_KEY))
    assert is_in(browser) is not is_ended
    assert len(list_sessions(user)) == (0 if is_ended else 1)


def test_cards_in_a_database_are_purged_and_counted_once(
    clock: Clock, settings: Settings, running_servers: Running, user: User, capsys: Any
) -> None:
    use_engine("database-sqlite", settings, running_servers)
    path = settings.SESSION_ENGINE
    settings.SESSION_ENGINE = "django_multisession.engines.cookie"
    settings.MULTISESSION_COOKIE = {"REVOCATION": path, "LISTED_IN": path}
    close_drivers()
    logged_in(user)
    assert len(list_sessions(user)) == 1
    driver: Any = Engine(LISTED_COOKIE).driver
    assert isinstance(driver, Purging)
    clock.advance(seconds=60 * 86_400)
    assert carry_out(driver.count_expired(int(clock.now.timestamp() * 1000))) == 1
    call_command("clearsessions", verbosity=0)
    assert carry_out(driver.count_expired(int(clock.now.timestamp() * 1000))) == 0
