"""What views, forms and Django's test client ask of ``request.session``."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.test import AsyncClient, Client

from tests.engine_fixtures import Count, Engine
from tests.web.browser import Browser
from tests.web.pages import log_in, put, read, user
from tests.web.people import person
from tests.web.visits import Visit, page

if TYPE_CHECKING:
    from pytest_django import Settings


async def set_test_cookie(visit: Visit) -> None:
    await visit.session.set_test_cookie()


async def cookie_worked(visit: Visit) -> Any:
    return await visit.session.test_cookie_worked()


async def delete_test_cookie(visit: Visit) -> None:
    await visit.session.delete_test_cookie()


def test_the_test_cookie_works_at_the_next_request_and_can_be_deleted(
    browser: Browser, engine: Engine
) -> None:
    assert browser.visit(cookie_worked).answer is False
    browser.visit(set_test_cookie)
    assert browser.visit(cookie_worked).answer is True
    browser.visit(delete_test_cookie)
    assert browser.visit(cookie_worked).answer is False


@pytest.mark.parametrize("name", ["pickle", "json"])
def test_the_site_chooses_the_serializer(
    browser: Browser, engine: Engine, settings: Settings, name: str
) -> None:
    if name == "pickle":
        settings.SESSION_SERIALIZER = "tests.web.serializers.PickleSerializer"
    found = []

    async def look(visit: Visit) -> None:
        found.append(await visit.session.get("when"))

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    status = browser.visit(put(when=moment)).status
    browser.visit(look)
    assert (status, found) == ((200, [moment]) if name == "pickle" else (500, [None]))


def test_a_change_inside_an_object_that_json_cannot_hold_is_saved(
    browser: Browser, engine: Engine, settings: Settings
) -> None:
    settings.SESSION_SERIALIZER = "tests.web.serializers.PickleSerializer"
    browser.visit(put(seen={1}))

    async def see(visit: Visit) -> None:
        (await visit.session.get("seen")).add(2)

    async def look(visit: Visit) -> Any:
        return sorted(await visit.session.get("seen"))

    assert browser.visit(look).cookies == {}
    assert browser.visit(see).new_key == browser.key
    assert browser.visit(look).answer == [1, 2]


def test_sync_access_in_an_async_view_is_refused(browser: Browser, engine: Engine) -> None:
    refused = []

    async def read_in_sync(visit: Visit) -> None:
        try:
            visit.store.get("city")
        except SynchronousOnlyOperation:
            refused.append(True)

    browser.visit(put(city="Rome"))
    browser.visit(read_in_sync)
    assert refused == ([True] if browser.is_async else [])
    assert browser.visit(read).answer == {"city": "Rome"}


def test_sync_access_in_an_async_view_is_fine_once_the_session_is_loaded(
    browser: Browser, engine: Engine
) -> None:
    async def load_then_use(visit: Visit) -> None:
        await read(visit)
        visit.store["city"] = visit.store["city"].upper()

    browser.visit(put(city="Rome"))
    assert browser.visit(load_then_use).status == 200
    assert browser.visit(read).answer == {"city": "ROME"}


def test_a_session_never_shows_its_key_payload_or_cookie_in_a_log(
    browser: Browser, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def show(visit: Visit) -> None:
        await read(visit)
        logging.getLogger("site").warning("%r %s", visit.store, visit.store)

    browser.visit(put(city="Rome"))
    with caplog.at_level(logging.DEBUG):
        browser.visit(show)
        browser.visit(put(when=object()))
    assert caplog.records
    assert browser.key
    assert browser.key not in caplog.text
    assert "Rome" not in caplog.text


# Django's test client knows the store and no middleware.


def answer(client: Client, body: Any) -> Any:
    with page(body) as name:
        return client.get(f"/visit/{name}/").json()["answer"]


async def aanswer(client: AsyncClient, body: Any) -> Any:
    with page(body) as name:
        return (await client.get(f"/avisit/{name}/")).json()["answer"]


def test_force_login_logs_in(engine: Engine, client: Client) -> None:
    client.force_login(person("ada"))
    assert answer(client, user) == "ada"


def test_force_login_keeps_what_the_client_had(engine: Engine, client: Client) -> None:
    session = client.session
    session["cart"] = ["tea"]
    session.save()
    client.force_login(person("ada"))
    assert answer(client, user) == "ada"
    assert answer(client, read) == {"cart": ["tea"]}


def test_a_client_session_that_was_set_and_saved_is_seen(engine: Engine, client: Client) -> None:
    session = client.session
    session["city"] = "Rome"
    session.save()
    assert answer(client, read) == {"city": "Rome"}
    session = client.session
    session["city"] = "Oslo"
    session.save()
    assert answer(client, read) == {"city": "Oslo"}
    assert client.session["city"] == "Oslo"


def test_a_client_session_of_a_logged_in_user_can_be_set(engine: Engine, client: Client) -> None:
    client.force_login(person("ada"))
    session = client.session
    session["cart"] = ["tea"]
    session.save()
    assert answer(client, user) == "ada"
    assert answer(client, read) == {"cart": ["tea"]}


def test_logout_of_the_client_ends_the_session(engine: Engine, client: Client) -> None:
    client.force_login(person("ada"))
    key = client.session.session_key
    client.logout()
    assert not engine.SessionStore().exists(key)
    assert answer(client, user) == ""


def test_the_async_client_logs_in_sets_entries_and_logs_out(
    engine: Engine, async_client: AsyncClient
) -> None:
    async def law() -> None:
        await async_client.aforce_login(person("ada"))
        assert await aanswer(async_client, user) == "ada"
        session = await async_client.asession()
        key = session.session_key
        await session.aset("cart", ["tea"])
        await session.asave()
        assert await aanswer(async_client, user) == "ada"
        assert await aanswer(async_client, read) == {"cart": ["tea"]}
        await async_client.alogout()
        assert not await engine.SessionStore().aexists(key)
        assert await aanswer(async_client, user) == ""

    asyncio.run(law())


def test_a_client_session_is_stored_at_once_as_django_does(
    engine: Engine, client: Client, count_stored: Count
) -> None:
    assert client.session.session_key
    assert count_stored() == 1


def test_a_browser_and_the_client_see_the_same_session(
    browser: Browser, engine: Engine, client: Client
) -> None:
    browser.visit(log_in("ada"))
    assert browser.key is not None
    client.cookies["sessionid"] = browser.key
    assert answer(client, user) == "ada"
