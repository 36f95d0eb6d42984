"""A site goes back to Django's engine: no client is logged out, and no old cookie opens anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.backends import db
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from django_multisession import way_back
from django_multisession.core.secret import SecretText
from django_multisession.exceptions import StoreUnavailable
from django_multisession.management.listing import listing_of
from django_multisession.sources import source_of
from tests.engine_fixtures import Engine
from tests.moving import removed_app
from tests.moving.conftest import DJANGOS, Old, leave, login
from tests.web.browser import Browser
from tests.web.conftest import OURS
from tests.web.pages import failing, log_in, log_out, put, read, user
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


@pytest.fixture
def session_middleware() -> str:
    """It is this package's middleware that brings sessions back."""
    return OURS


@pytest.fixture(params=["db", "cache"])
def go_back(
    request: pytest.FixtureRequest, settings: Settings, engine: Engine
) -> Callable[[], Old]:
    """What is called deploys Django's engine again."""
    leave(settings, request.param)
    del settings.MULTISESSION_MIGRATE_FROM

    def deploy() -> Old:
        settings.MULTISESSION_MIGRATE_FROM = engine.path
        settings.SESSION_ENGINE = f"{DJANGOS}.{request.param}"
        return Old(settings.SESSION_ENGINE)

    return deploy


def test_a_login_and_a_cart_go_back(browser: Browser, go_back: Callable[[], Old]) -> None:
    browser.visit(put(cart=["tea"]))
    browser.visit(log_in("ada"))
    old = go_back()
    again = browser.copy()
    assert browser.visit(user).answer == "ada"
    assert len(browser.key or "") == 32
    assert old.holds(str(browser.key))
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert again.visit(read).answer == {"cart": ["tea"]}
    assert again.key == browser.key


def test_a_page_that_fails_leaves_the_cookie_and_loses_nothing(
    browser: Browser, go_back: Callable[[], Old]
) -> None:
    browser.visit(put(cart=["tea"]))
    go_back()
    assert browser.visit(failing(read)).cookies == {}
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_an_old_cookie_is_worth_nothing_after_a_logout(
    browser: Browser, go_back: Callable[[], Old], forget_tombstones: Callable[[], None]
) -> None:
    browser.visit(log_in("ada"))
    thief = browser.copy()
    go_back()
    browser.visit(user)
    browser.visit(log_out)
    assert thief.copy().visit(user).answer == ""
    forget_tombstones()
    assert thief.visit(user).answer == ""


def test_an_old_cookie_leads_to_the_returned_session_for_a_minute(
    browser: Browser, go_back: Callable[[], Old], clock: Clock
) -> None:
    browser.visit(log_in("ada"))
    in_time, thief = browser.copy(), browser.copy()
    go_back()
    assert browser.visit(user).answer == "ada"
    clock.advance(MINUTE - timedelta(seconds=1))
    assert in_time.visit(user).answer == "ada"
    assert in_time.key == browser.key
    clock.advance(seconds=1)
    reply = thief.visit(user)
    assert (reply.answer, reply.deletes_the_cookie) == ("", True)
    assert browser.visit(user).answer == "ada"


@pytest.mark.parametrize("is_carried_out", [False, True], ids=["not sent", "answer lost"])
@pytest.mark.parametrize("at", range(4))
def test_a_return_that_an_outage_of_the_old_engine_cuts_off_goes_on_after_a_minute(
    browser: Browser,
    go_back: Callable[[], Old],
    engine: Engine,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    is_carried_out: bool,
) -> None:
    browser.visit(log_in("ada"))
    go_back()
    verb = ("get", "add", "delete", "replace")[at]
    carry_out = getattr(engine.driver, verb)

    def cut(*arguments: Any) -> Any:
        if is_carried_out and verb != "replace":  # its lost answer is the last chance
            yield from carry_out(*arguments)
        raise StoreUnavailable("cut")

    with monkeypatch.context() as patch:
        patch.setattr(engine.driver, verb, cut)
        assert browser.visit(user).answer == ""
    clock.advance(MINUTE)
    assert browser.visit(user).answer == "ada"
    thief = browser.copy()
    assert thief.visit(user).answer == "ada"


@pytest.mark.parametrize("verb", ["save", "exists"])
def test_a_return_that_an_outage_of_the_new_engine_cuts_off_goes_on_after_a_minute(
    browser: Browser,
    go_back: Callable[[], Old],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    browser.visit(log_in("ada"))
    late, old = browser.copy(), go_back()

    def cut(*_args: Any) -> Any:
        raise OSError

    with monkeypatch.context() as patch:
        for name in (verb, f"a{verb}"):
            patch.setattr(old.store, name, cut)
        assert browser.visit(user).answer == ""
    clock.advance(MINUTE)
    assert browser.visit(user).answer == "ada"
    clock.advance(MINUTE)
    assert late.visit(user).answer == ""


def test_two_requests_that_overlap_bring_one_session(
    browser: Browser, go_back: Callable[[], Old]
) -> None:
    browser.visit(put(cart=["tea"]))
    other = browser.copy()
    go_back()

    async def visit_in_between(visit: Visit) -> Any:
        return await visit.session.get("cart"), (await other.visiting(read)).answer

    assert browser.visit(visit_in_between).answer == [["tea"], {"cart": ["tea"]}]
    assert browser.key == other.key


def test_while_a_server_is_down_its_clients_are_anonymous_and_keep_their_cookies(
    browser: Browser,
    go_back: Callable[[], Old],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser.visit(log_in("ada"))
    key = browser.key
    go_back()

    def fail(_command: Any) -> Any:
        raise OSError("hunter2")

    async def afail(_command: Any) -> Any:
        fail(_command)

    with monkeypatch.context() as patch:
        patch.setattr(engine.driver.server, "send", fail, raising=False)
        patch.setattr(engine.driver.server, "asend", afail, raising=False)
        reply = browser.visit(user)
    assert (reply.status, reply.answer, reply.cookies, browser.key) == (200, "", {}, key)
    assert "hunter2" not in caplog.text
    assert browser.visit(user).answer == "ada"


@pytest.mark.parametrize("path", ["shop.no_such_module", "django_multisession.engines.tiered"])
def test_an_engine_that_cannot_be_opened_is_no_outage(
    engine: Engine, settings: Settings, path: str
) -> None:
    leave(settings, "cache")
    settings.SESSION_ENGINE, settings.MULTISESSION_MIGRATE_FROM = f"{DJANGOS}.cache", path
    key = engine.SessionStore()._get_new_session_key()
    with pytest.raises(ImproperlyConfigured):
        _ = way_back.is_due() and way_back.bring(Old(f"{DJANGOS}.cache").store, SecretText(key))


def test_an_app_that_was_removed_is_no_outage(engine: Engine, settings: Settings) -> None:
    settings.SESSION_ENGINE = removed_app.__name__
    settings.MULTISESSION_MIGRATE_FROM = engine.path
    key = engine.SessionStore()._get_new_session_key()
    session = engine.SessionStore(key)
    session["cart"] = ["tea"]
    session.save()
    with pytest.raises(ImproperlyConfigured):
        way_back.bring(removed_app.SessionStore, SecretText(session.session_key))


@pytest.mark.parametrize("body", ["put", "save", "logout"])
def test_a_write_while_a_server_is_down_is_refused_and_a_login_is_not(
    browser: Browser,
    go_back: Callable[[], Old],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
) -> None:
    async def save(visit: Visit) -> None:
        await visit.session.set("city", "Paris")
        await visit.session.save()
        saved.append(visit.store.session_key)

    saved: list[str] = []
    browser.visit(log_in("ada"))
    key = browser.key
    old = go_back()

    def fail(_command: Any) -> Any:
        raise StoreUnavailable("down")

    async def afail(_command: Any) -> Any:
        fail(_command)

    with monkeypatch.context() as patch:
        patch.setattr(engine.driver.server, "send", fail, raising=False)
        patch.setattr(engine.driver.server, "asend", afail, raising=False)
        reply = browser.visit({"put": put(city="Paris"), "save": save, "logout": log_out}[body])
        assert (reply.status, reply.cookies, browser.key) == (503, {}, key)
        assert not any(map(old.holds, saved))
        other = browser.copy()
        assert other.visit(log_in("bob")).new_key is not None
        assert other.visit(user).answer == "bob"
    assert browser.visit(user).answer == "ada"


def test_a_client_that_stayed_away_finds_its_session_back(
    browser: Browser, settings: Settings, engine: Engine
) -> None:
    old = leave(settings, "db")
    key = old.begin(browser, cart=["tea"], **login("ada"))
    call_command("migratesessions", verbosity=0)
    assert not old.holds(key)
    settings.SESSION_ENGINE, settings.MULTISESSION_MIGRATE_FROM = old.path, engine.path
    assert browser.visit(user).answer == "ada"
    assert browser.key != key
    assert browser.visit(read).answer == {"cart": ["tea"]}
    browser.visit(log_out)
    thief = browser.stranger()
    thief.key = key
    assert thief.visit(user).answer == ""


def test_a_session_that_is_there_already_is_used_while_the_old_engine_is_down(
    browser: Browser, go_back: Callable[[], Old], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = go_back()
    old.begin(browser, cart=["tea"])

    def fail(_command: Any) -> Any:
        raise StoreUnavailable("down")

    async def afail(_command: Any) -> Any:
        fail(_command)

    monkeypatch.setattr(engine.driver.server, "send", fail, raising=False)
    monkeypatch.setattr(engine.driver.server, "asend", afail, raising=False)
    assert browser.visit(read).answer == {"cart": ["tea"]}


@pytest.fixture(params=[False, True], ids=["removed", "still there"])
def adopted(
    request: pytest.FixtureRequest, browser: Browser, settings: Settings, engine: Engine
) -> Callable[..., Old]:
    """Have the site adopt a session from Django's engine, whose copy may stay, and go back."""
    old = leave(settings, "db")
    key = old.begin(browser, cart=["tea"], **login("ada"))

    def go_back(adopt: Callable[[], Any]) -> Old:
        adopt()
        if request.param:
            old.put_back(key, cart=["tea"], **login("ada"))
        settings.SESSION_ENGINE, settings.MULTISESSION_MIGRATE_FROM = old.path, engine.path
        return old

    return go_back


def test_an_old_cookie_from_before_the_first_move_takes_nothing_from_its_user(
    browser: Browser, adopted: Callable[..., Old], clock: Clock
) -> None:
    thief = browser.copy()
    old = adopted(lambda: browser.visit(user))
    clock.advance(MINUTE)
    reply = thief.visit(user)
    assert (reply.answer, reply.deletes_the_cookie) == ("", True)
    assert browser.visit(user).answer == "ada"
    assert old.store.get_model_class().objects.count() == 1


def test_a_logout_before_the_way_back_holds(
    browser: Browser, adopted: Callable[..., Old], forget_tombstones: Callable[[], None]
) -> None:
    thief = browser.copy()
    old = adopted(lambda: (browser.visit(user), browser.visit(log_out)))
    forget_tombstones()
    assert thief.visit(user).answer == ""
    assert old.store.get_model_class().objects.count() == 0


def test_a_logout_as_the_only_visit_before_the_way_back_holds(
    browser: Browser, adopted: Callable[..., Old], forget_tombstones: Callable[[], None]
) -> None:
    thief = browser.copy()
    adopted(lambda: browser.visit(log_out))
    forget_tombstones()
    assert thief.visit(user).answer == ""


def test_a_client_that_a_command_moved_comes_back_though_its_copy_is_still_there(
    browser: Browser, adopted: Callable[..., Old], clock: Clock
) -> None:
    thief = browser.copy()
    old = adopted(lambda: call_command("migratesessions", verbosity=0))
    assert browser.visit(user).answer == "ada"
    assert old.store.get_model_class().objects.count() == 1
    clock.advance(MINUTE)
    assert thief.visit(user).answer == ""


def test_what_a_return_leaves_is_not_listed_as_a_session(
    browser: Browser, go_back: Callable[[], Old], engine: Engine
) -> None:
    browser.visit(put(cart=["tea"]))
    go_back()
    browser.visit(read)
    listing = listing_of(source_of(engine.path), engine.SessionStore()._inner.site)
    assert listing is None or listing.count(10) == 0


def test_a_site_goes_there_and_back(browser: Browser, settings: Settings, engine: Engine) -> None:
    old = leave(settings, "db")
    settings.SESSION_ENGINE = old.path
    del settings.MULTISESSION_MIGRATE_FROM
    browser.visit(log_in("ada"))
    visited = [browser.copy()]
    for here, there in [(old.path, engine.path), (engine.path, old.path)] * 2:
        settings.SESSION_ENGINE, settings.MULTISESSION_MIGRATE_FROM = there, here
        assert browser.visit(user).answer == "ada"
        visited.append(browser.copy())
    browser.visit(log_out)
    assert [each.visit(user).answer for each in visited] == [""] * 5
    assert db.SessionStore.get_model_class().objects.count() == 0
