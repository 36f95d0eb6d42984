"""What a response saves: what changed, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_multisession.testing.rows import for_each
from tests.conftest import Clock
from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.pages import crashing, failing, put, read
from tests.web.visits import Visit

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.usefixtures("engine")


def test_what_is_set_is_there_at_the_next_request(browser: Browser) -> None:
    reply = browser.visit(put(city="Rome"))
    assert reply.new_key is not None
    assert browser.visit(read).answer == {"city": "Rome"}


def test_another_browser_does_not_see_it(browser: Browser) -> None:
    browser.visit(put(city="Rome"))
    assert browser.stranger().visit(read).answer == {}


def test_a_change_sends_the_cookie_again(browser: Browser) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key
    reply = browser.visit(put(city="Oslo"))
    assert reply.new_key == key
    assert browser.visit(read).answer == {"city": "Oslo"}


def test_a_session_that_is_only_read_sends_no_cookie(browser: Browser) -> None:
    browser.visit(put(city="Rome", cart=["tea"]))
    reply = browser.visit(read)
    assert reply.answer == {"city": "Rome", "cart": ["tea"]}
    assert reply.cookies == {}
    assert reply.varies_by_cookie


def test_a_change_inside_a_list_is_saved(browser: Browser) -> None:
    browser.visit(put(cart=["tea"]))

    async def buy(visit: Visit) -> None:
        (await visit.session.get("cart")).append("milk")

    assert browser.visit(buy).new_key == browser.key
    assert browser.visit(read).answer == {"cart": ["tea", "milk"]}


def test_a_change_inside_a_dict_in_a_list_is_saved(browser: Browser) -> None:
    browser.visit(put(cart=[{"name": "tea", "count": 1}]))

    async def buy_another(visit: Visit) -> None:
        (await visit.session.get("cart"))[0]["count"] += 1

    assert browser.visit(buy_another).new_key == browser.key
    assert browser.visit(read).answer == {"cart": [{"name": "tea", "count": 2}]}


def test_a_change_to_what_setdefault_handed_out_is_saved(browser: Browser) -> None:
    browser.visit(put(city="Rome"))

    async def buy(visit: Visit) -> None:
        cart = await visit.session.setdefault("cart", [])
        cart.append("tea")

    browser.visit(buy)
    browser.visit(buy)
    assert browser.visit(read).answer == {"city": "Rome", "cart": ["tea", "tea"]}


def test_a_change_after_an_explicit_save_is_saved(browser: Browser) -> None:
    async def save_and_buy(visit: Visit) -> None:
        cart = ["tea"]
        await visit.session.set("cart", cart)
        await visit.session.save()
        (await visit.session.get("cart")).append("milk")

    browser.visit(save_and_buy)
    assert browser.visit(read).answer == {"cart": ["tea", "milk"]}


def test_an_equal_value_is_not_written(browser: Browser) -> None:
    browser.visit(put(city="Rome", cart=[{"tea": 1}]))
    assert browser.visit(put(city="Rome", cart=[{"tea": 1}])).cookies == {}


@for_each(("before", "after"), [(1, True), (0, False), (1, 1.0), ("", None)])
def test_a_value_that_only_python_calls_equal_is_written(
    browser: Browser, before: Any, after: Any
) -> None:
    browser.visit(put(flag=before))
    assert browser.visit(put(flag=after)).new_key == browser.key
    found = browser.visit(read).answer["flag"]
    assert (type(found), found) == (type(after), after)


def test_a_change_that_was_undone_is_not_written(browser: Browser) -> None:
    browser.visit(put(cart=["tea"]))

    async def change_and_undo(visit: Visit) -> None:
        cart = await visit.session.get("cart")
        cart.append("milk")
        cart.pop()

    assert browser.visit(change_and_undo).cookies == {}


def test_a_deleted_entry_is_gone(browser: Browser) -> None:
    browser.visit(put(city="Rome", cart=["tea"]))

    async def forget_city(visit: Visit) -> None:
        await visit.session.pop("city")

    assert browser.visit(forget_city).new_key == browser.key
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_a_session_emptied_entry_by_entry_stays_a_session(browser: Browser) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key

    async def forget_city(visit: Visit) -> None:
        await visit.session.pop("city")

    assert browser.visit(forget_city).new_key == key
    reply = browser.visit(read)
    assert reply.answer == {}
    assert reply.cookies == {}


def test_a_cleared_session_stays_a_session_without_entries(browser: Browser) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key

    async def clear(visit: Visit) -> None:
        visit.store.clear()  # it does no I/O and has no a-twin

    assert browser.visit(clear).new_key == key
    assert browser.visit(read).answer == {}


def test_what_is_set_after_a_clear_is_all_there_is(browser: Browser) -> None:
    browser.visit(put(city="Rome"))

    async def start_over(visit: Visit) -> None:
        visit.store.clear()
        await visit.session.set("cart", ["tea"])

    browser.visit(start_over)
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_modified_set_to_false_prevents_the_save(browser: Browser) -> None:
    browser.visit(put(cart=["tea"]))

    async def look_and_take_back(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        (await visit.session.get("cart")).append("milk")
        visit.store.modified = False

    assert browser.visit(look_and_take_back).cookies == {}
    assert browser.visit(read).answer == {"cart": ["tea"]}


def test_modified_set_to_false_prevents_the_save_also_when_a_touch_is_due(
    browser: Browser, clock: Clock
) -> None:
    async def set_and_take_back(visit: Visit) -> None:
        await visit.session.set("city", "Oslo")
        visit.store.modified = False

    browser.visit(put(city="Rome"))
    clock.advance(seconds=60)
    browser.visit(set_and_take_back)
    assert browser.visit(read).answer == {"city": "Rome"}


def test_a_change_after_modified_was_set_to_false_is_saved(browser: Browser) -> None:
    async def take_back_and_set(visit: Visit) -> None:
        visit.store.modified = False
        await visit.session.set("city", "Oslo")

    browser.visit(put(city="Rome"))
    browser.visit(take_back_and_set)
    assert browser.visit(read).answer == {"city": "Oslo"}


def test_modified_set_to_true_without_a_change_is_no_error(browser: Browser) -> None:
    async def mark(visit: Visit) -> None:
        visit.store.modified = True

    browser.visit(put(city="Rome"))
    assert browser.visit(mark).status == 200
    assert browser.visit(read).answer == {"city": "Rome"}


def test_modified_set_to_false_keeps_a_new_session_from_being_stored(
    browser: Browser, count_stored: Count
) -> None:
    async def set_and_take_back(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        visit.store.modified = False

    assert browser.visit(set_and_take_back).cookies == {}
    assert count_stored() == 0


def test_an_explicit_save_sends_the_cookie(browser: Browser) -> None:
    async def save(visit: Visit) -> None:
        await visit.session.set("city", "Rome")
        await visit.session.save()
        assert await visit.session.exists(visit.store.session_key)

    reply = browser.visit(save)
    assert reply.new_key is not None
    assert browser.visit(read).answer == {"city": "Rome"}


def test_an_explicit_create_sends_the_cookie_of_an_empty_session(
    browser: Browser, count_stored: Count
) -> None:
    async def create(visit: Visit) -> None:
        await visit.session.create()

    assert browser.visit(create).new_key is not None
    assert count_stored() == 1
    key = browser.key
    assert browser.visit(put(city="Rome")).new_key == key
    assert browser.visit(read).answer == {"city": "Rome"}


@pytest.mark.parametrize("fail", [failing, crashing])
def test_a_server_error_saves_nothing_and_sends_no_cookie(browser: Browser, fail: Any) -> None:
    browser.visit(put(city="Rome", cart=["tea"]))

    async def change(visit: Visit) -> None:
        await visit.session.set("city", "Oslo")
        (await visit.session.get("cart")).append("milk")

    reply = browser.visit(fail(change))
    assert reply.status == 500
    assert reply.cookies == {}
    assert browser.visit(read).answer == {"city": "Rome", "cart": ["tea"]}


@pytest.mark.parametrize("fail", [failing, crashing])
def test_a_server_error_stores_no_new_session(
    browser: Browser, fail: Any, count_stored: Count
) -> None:
    assert browser.visit(fail(put(city="Rome"))).cookies == {}
    assert count_stored() == 0


@pytest.mark.parametrize("fail", [failing, crashing])
def test_a_flush_has_ended_the_session_also_where_the_page_then_fails(
    browser: Browser, fail: Any, engine: Engine
) -> None:
    browser.visit(put(city="Rome"))
    key = browser.key

    async def flush(visit: Visit) -> None:
        await visit.session.flush()

    assert browser.visit(fail(flush)).status == 500
    assert not engine.SessionStore().exists(key)
    assert browser.visit(read).answer == {}


def test_a_value_that_cannot_be_stored_is_an_error_and_leaves_the_session_as_it_was(
    browser: Browser, settings: Settings
) -> None:
    browser.visit(put(city="Rome"))
    reply = browser.visit(put(city="Oslo", when=object()))
    assert reply.status == 500
    assert reply.cookies == {}
    assert browser.visit(read).answer == {"city": "Rome"}
