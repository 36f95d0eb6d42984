"""A client comes with a key of Django's engine, and its session goes on under a new one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from django_multisession import signals
from django_multisession.core import keys
from django_multisession.core.keys import Verified
from django_multisession.core.records import NEVER, Facts
from django_multisession.core.secret import SecretBytes
from django_multisession.session import adopt
from django_multisession.settings.conf import config
from django_multisession.testing.rows import for_each
from tests.engine_fixtures import Engine
from tests.moving import third_party
from tests.moving.conftest import Old, leave, login
from tests.web.browser import Browser
from tests.web.pages import failing, log_in, log_out, put, read, untouched, user
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def test_a_login_and_a_cart_go_on_under_a_new_key(browser: Browser, old: Old) -> None:
    key = old.begin(browser, cart=["tea"], **login("ada"))
    reply = browser.visit(user)
    assert reply.answer == "ada"
    assert reply.new_key not in {None, key}
    assert keys.verify(browser.key, config().signing_keys) is not None
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert not old.holds(key)


def test_no_one_knows_when_the_user_of_an_adopted_session_authenticated(
    browser: Browser, old: Old
) -> None:
    old.begin(browser, **login("ada"))
    assert browser.visit(authenticated).answer is None
    assert browser.visit(authenticated).answer is None


async def authenticated(visit: Visit) -> str | None:
    store = visit.store
    found = await store.aauthenticated_at() if visit._is_async else store.authenticated_at
    return None if found is None else str(found)


def test_a_response_that_gets_lost_loses_nothing(browser: Browser, old: Old) -> None:
    old.begin(browser, cart=["tea"], **login("ada"))
    again = browser.copy()
    assert browser.visit(put(city="Paris")).status == 200
    assert again.visit(read).answer == {"cart": ["tea"], "city": "Paris"}
    assert again.key == browser.key


def test_a_clock_that_is_set_back_does_not_open_the_minute_again(
    browser: Browser, old_db: Old, clock: Clock
) -> None:
    old_db.begin(browser, **login("ada"))
    thief = browser.copy()
    browser.visit(user)
    clock.advance(timedelta(hours=1))
    assert browser.visit(user).answer == "ada"
    clock.advance(-timedelta(hours=1))
    assert thief.visit(user).answer == ""
    assert browser.visit(user).answer == "ada"


def test_a_page_that_fails_leaves_the_old_cookie_and_the_next_one_replaces_it(
    browser: Browser, old: Old
) -> None:
    old.begin(browser, cart=["tea"])
    assert browser.visit(failing(read)).cookies == {}
    reply = browser.visit(read)
    assert reply.answer == {"cart": ["tea"]}
    assert reply.new_key is not None


def test_two_requests_that_overlap_adopt_one_session(browser: Browser, old: Old) -> None:
    old.begin(browser, cart=["tea"])
    other = browser.copy()

    async def visit_in_between(visit: Visit) -> Any:
        cart = await visit.session.get("cart")
        await other.visiting(put(city="Paris"))
        await visit.session.set("name", "Ada")
        return cart

    assert browser.visit(visit_in_between).answer == ["tea"]
    assert browser.key == other.key
    assert browser.visit(read).answer == {"cart": ["tea"], "city": "Paris", "name": "Ada"}


def test_a_page_that_leaves_the_session_alone_leaves_the_old_one_where_it_is(
    browser: Browser, old: Old
) -> None:
    key = old.begin(browser, cart=["tea"])
    assert browser.visit(untouched).cookies == {}
    assert old.holds(key)


@pytest.mark.parametrize("expiry", [3600, 0, datetime(2027, 1, 1, tzinfo=UTC)])
def test_a_chosen_expiry_is_kept(browser: Browser, old: Old, expiry: Any) -> None:
    session = old.store()
    session["cart"] = ["tea"]
    session.set_expiry(expiry)
    session.save()
    browser.key = session.session_key
    chosen = session["_session_expiry"]

    async def expiry_of(visit: Visit) -> Any:
        return await visit.session.get("_session_expiry")

    reply = browser.visit(expiry_of)
    assert reply.answer == chosen
    assert reply.cookie is not None
    assert (reply.cookie["max-age"] == "") == (expiry == 0)


def test_what_the_serializer_cannot_take_is_named_and_dropped(
    browser: Browser, settings: Settings, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    old = leave(settings, "cache")
    adopted: list[Any] = []

    def note(sender: Any, **arguments: Any) -> None:
        adopted.append(arguments["dropped_entries"])

    signals.session_adopted.connect(note)
    old.begin(browser, cart=["tea"], price=Decimal("1.5"), since=datetime(2026, 1, 1, tzinfo=UTC))
    try:
        assert browser.visit(read).answer == {"cart": ["tea"]}
    finally:
        signals.session_adopted.disconnect(note)
    (line,) = [record.getMessage() for record in caplog.records if "without" in record.msg]
    assert "'price', 'since'" in line
    assert adopted == [("price", "since")]


def test_an_unknown_key_is_no_session_and_its_cookie_is_removed(
    browser: Browser, old: Old, caplog: pytest.LogCaptureFixture
) -> None:
    browser.key = "a" * 32
    with caplog.at_level(logging.INFO):
        reply = browser.visit(read)
    assert (reply.answer, reply.deletes_the_cookie) == ({}, True)
    assert "was refused" in caplog.text
    assert "aaaa" not in caplog.text


def test_a_key_is_never_taken_over_from_a_client(browser: Browser, old: Old) -> None:
    browser.key = "a" * 32
    key = browser.visit(put(cart=["tea"])).new_key
    stranger = browser.stranger()
    stranger.key = "a" * 32
    assert key is not None
    assert stranger.visit(read).answer == {}


# What a captured old cookie is worth


def test_an_old_cookie_is_worth_nothing_after_a_logout(
    browser: Browser, old: Old, forget_tombstones: Callable[[], None]
) -> None:
    key = old.begin(browser, cart=["tea"], **login("ada"))
    thief = browser.copy()
    browser.visit(user)
    browser.visit(log_out)
    assert thief.copy().visit(user).answer == ""
    forget_tombstones()
    old.put_back(key, **login("ada"))
    assert thief.copy().visit(user).answer == ""


def test_an_old_cookie_is_worth_nothing_after_a_login(
    browser: Browser, old_db: Old, forget_tombstones: Callable[[], None]
) -> None:
    key = old_db.begin(browser, cart=["tea"])
    thief = browser.copy()
    browser.visit(log_in("ada"))
    assert browser.visit(read).answer == {"cart": ["tea"]}
    forget_tombstones()
    old_db.put_back(key, cart=["tea"])
    assert thief.visit(read).answer == {}


def test_an_old_cookie_leads_to_the_moved_session_for_a_minute(
    browser: Browser, old: Old, clock: Clock
) -> None:
    key = old.begin(browser, cart=["tea"], **login("ada"))
    in_time, thief = browser.copy(), browser.copy()
    browser.visit(user)
    clock.advance(MINUTE - timedelta(seconds=1))
    assert in_time.visit(user).answer == "ada"
    assert in_time.key == browser.key
    clock.advance(seconds=1)
    reply = thief.visit(user)
    assert (reply.answer, reply.deletes_the_cookie) == ("", True)
    assert browser.visit(user).answer == "ada"
    # Neither a copy of the old table nor the captured cookie brings it back.
    old.put_back(key, **login("ada"))
    late = browser.stranger()
    late.key = key
    assert late.copy().visit(user).answer == ""
    assert not old.holds(key)
    assert late.visit(put(cart=["milk"])).new_key != browser.key
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_session_that_a_command_moved_is_open_until_its_client_came(
    browser: Browser, old_db: Old, clock: Clock
) -> None:
    key = old_db.begin(browser, **login("ada"))
    in_time, thief = browser.copy(), browser.copy()
    call_command("migratesessions", verbosity=0)
    clock.advance(timedelta(days=2))
    call_command("migratesessions", verbosity=0)
    assert browser.visit(user).answer == "ada"
    clock.advance(MINUTE - timedelta(seconds=1))
    assert in_time.visit(user).answer == "ada"
    clock.advance(seconds=1)
    # A second run over a restored table opens it no more than the first did.
    old_db.put_back(key, **login("ada"))
    call_command("migratesessions", verbosity=0)
    assert not old_db.holds(key)
    assert thief.visit(user).answer == ""


def test_a_late_old_key_names_no_session_to_code(
    browser: Browser, old_db: Old, clock: Clock
) -> None:
    key = old_db.begin(browser, **login("ada"))
    browser.visit(user)

    async def find(visit: Visit) -> bool:
        found: bool = await visit.session.exists(key)
        return found

    assert browser.stranger().visit(find).answer is True
    clock.advance(MINUTE)
    assert browser.stranger().visit(find).answer is False


@for_each(
    ("why", "age", "is_open"),
    [
        ("adopted", 0, True),
        ("adopted", 59_999, True),
        ("adopted", 60_000, False),
        # The clock of the process that stored it is ahead.
        ("adopted", -59_999, True),
        ("adopted", -60_000, False),
        ("moved", 59_999, True),
        ("moved", 86_400_000, True),
        ("ended", 0, False),
    ],
)
def test_a_mark_opens_its_session_for_a_minute(
    engine: Engine, why: str, age: int, is_open: bool
) -> None:
    site = engine.SessionStore()._inner.site
    now, reason = site.now(), SecretBytes(f'{{"why":"{why}"}}'.encode())
    facts = Facts(now, now, now, NEVER, NEVER)
    record = site.sign(facts, reason, Verified("", "a" * 43), None)
    assert adopt.Mark(reason, record).is_open(now + age) is is_open
    assert not adopt.Mark().is_open(now)


def test_two_first_visits_after_a_command_share_one_session(browser: Browser, old_db: Old) -> None:
    old_db.begin(browser, cart=["tea"])
    other = browser.copy()
    call_command("migratesessions", verbosity=0)

    async def visit_in_between(visit: Visit) -> Any:
        cart = await visit.session.get("cart")
        await other.visiting(put(city="Paris"))
        await visit.session.set("name", "Ada")
        return cart

    assert browser.visit(visit_in_between).answer == ["tea"]
    assert browser.key == other.key
    assert browser.visit(read).answer == {"cart": ["tea"], "city": "Paris", "name": "Ada"}


def test_a_logout_as_the_first_request_ends_the_old_session(
    browser: Browser, old_db: Old, forget_tombstones: Callable[[], None]
) -> None:
    key = old_db.begin(browser, **login("ada"))
    thief = browser.copy()

    async def flush(visit: Visit) -> None:
        await visit.session.flush()

    assert browser.visit(flush).deletes_the_cookie
    assert not old_db.holds(key)
    old_db.put_back(key, **login("ada"))
    forget_tombstones()
    assert thief.visit(user).answer == ""


def test_code_ends_and_finds_sessions_by_their_old_keys(browser: Browser, old_db: Old) -> None:
    key = old_db.begin(browser, **login("ada"))
    other = browser.stranger()

    async def find(visit: Visit) -> bool:
        found: bool = await visit.session.exists(key)
        return found

    async def end(visit: Visit) -> None:
        await visit.session.delete(key)

    assert other.visit(find).answer is True
    assert old_db.holds(key)
    other.visit(end)
    assert other.visit(find).answer is False
    assert not old_db.holds(key)
    assert browser.visit(user).answer == ""


def test_forged_keys_leave_nothing_in_the_store(
    browser: Browser, old_db: Old, engine: Engine, count_stored: Any
) -> None:
    async def flush(visit: Visit) -> None:
        await visit.session.flush()

    for body in (read, flush):
        browser.key = "b" * 32
        browser.visit(body)
    assert count_stored() == 0


def test_an_adopted_session_survives_a_rotation_of_the_secret(
    browser: Browser, old_db: Old, settings: Settings
) -> None:
    old_db.begin(browser, cart=["tea"])
    again = browser.copy()
    browser.visit(read)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-" + "y" * 50
    assert again.visit(read).answer == {"cart": ["tea"]}
    assert again.visit(log_out).status == 200
    settings.SECRET_KEY_FALLBACKS = []
    late = browser.stranger()
    late.key = old_db.begin(late.copy(), cart=["milk"])
    assert late.visit(read).answer == {"cart": ["milk"]}


def test_after_its_end_the_migration_adopts_nothing(
    browser: Browser, old_db: Old, settings: Settings, clock: Clock
) -> None:
    settings.MULTISESSION_MIGRATE_UNTIL = clock.now + MINUTE
    old_db.begin(browser, cart=["tea"])
    late = browser.copy()
    assert browser.visit(read).answer == {"cart": ["tea"]}
    old_db.begin(late, cart=["milk"])
    clock.advance(MINUTE)
    assert late.visit(read).answer == {}


# Engines of other packages, and costs


def test_a_session_of_another_packages_engine_goes_on(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.MULTISESSION_MIGRATE_FROM = third_party.__name__
    key = third_party.begin({"cart": ["tea"], **login("ada")})
    browser.key = key
    again = browser.copy()
    assert browser.visit(user).answer == "ada"
    assert browser.visit(read).answer == {"cart": ["tea"]}
    assert again.visit(read).answer == {"cart": ["tea"]}
    assert key not in third_party.kept


@pytest.mark.parametrize(("is_known", "commands"), [(True, 4), (False, 1)])
def test_an_adoption_takes_four_commands_and_a_forged_key_one(
    browser: Browser,
    old_db: Old,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    is_known: bool,
    commands: int,
) -> None:
    old_db.begin(browser, cart=["tea"])
    if not is_known:
        browser.key = "a" * 32
    server = engine.driver.server
    # The async end of a database is its sync one, in a thread.
    sent: dict[int, Any] = {}
    send, asend = server.send, server.asend

    def count(command: Any) -> Any:
        sent[id(command)] = command
        return send(command)

    async def acount(command: Any) -> Any:
        sent[id(command)] = command
        return await asend(command)

    monkeypatch.setattr(server, "send", count, raising=False)
    monkeypatch.setattr(server, "asend", acount, raising=False)
    browser.visit(read)
    assert len(sent) == commands
