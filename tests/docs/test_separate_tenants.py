"""The engines that the page on tenants shows separate them."""

from __future__ import annotations

import sys
import types
from typing import Any

import django.db
import pytest

from django_multisession.drivers.memory import MemoryDriver
from tests.docs.pages import Block, blocks_of

PAGE = "docs/howto/separate-tenants.md"
PER_TENANT, PER_HOST, SHOWN = (
    "mysite/sessions.py",
    "mysite/host_sessions.py",
    "mysite/test_sessions.py",
)


def runs(block: Block) -> bool:
    return block.page == PAGE and block.file in {PER_TENANT, PER_HOST, SHOWN}


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """In place of Django's, in which django-tenants notes the tenant of the request."""
    found = types.SimpleNamespace(schema_name="north")
    monkeypatch.setattr(django.db, "connection", found)
    return found


def shown(file: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module *file* of the page, over records in memory in place of Redis."""
    (block,) = (block for block in blocks_of(PAGE) if block.file == file)
    module = types.ModuleType(file.removesuffix(".py").replace("/", "."))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block.text.replace("engines.redis", "engines.memory"), vars(module))
    return module


def stored_in(store: Any) -> str:
    session = store()
    session["cart"] = [1]
    session.save()
    key: str = session.session_key
    return key


def test_a_cookie_of_one_tenant_opens_nothing_at_another(
    monkeypatch: pytest.MonkeyPatch, connection: types.SimpleNamespace
) -> None:
    store = shown(PER_TENANT, monkeypatch).SessionStore
    key = stored_in(store)
    connection.schema_name = "south"
    assert "cart" not in store(key)
    assert not store().exists(key)
    connection.schema_name = "north"
    assert store(key)["cart"] == [1]


def test_a_record_that_is_copied_to_another_tenant_does_not_open(
    monkeypatch: pytest.MonkeyPatch, connection: types.SimpleNamespace
) -> None:
    store = shown(PER_TENANT, monkeypatch).SessionStore
    slots = store.get_driver().server.slots
    slots.clear()
    stored_in(store)
    (north,) = slots
    connection.schema_name = "south"
    key = stored_in(store)
    (south,) = slots.keys() - {north}
    assert store(key)["cart"] == [1]
    slots[south] = slots[north]
    assert "cart" not in store(key)


def test_hosts_have_stores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = shown(PER_HOST, monkeypatch)
    north, south = MemoryDriver(), MemoryDriver()
    monkeypatch.setattr(module, "_drivers", {"north": north, "south": south})
    stored_in(module.SessionStore)
    assert (len(north), len(south)) == (1, 0)


def test_the_test_shown_passes_and_notices_one_namespace_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = shown(PER_TENANT, monkeypatch).SessionStore
    test = shown(SHOWN, monkeypatch).test_a_cookie_of_one_tenant_opens_nothing_at_another
    with monkeypatch.context() as patches:
        test(patches)
    for cls in (store, store.__base__):
        monkeypatch.setattr(cls, "get_namespace", lambda _self: "another")
    with pytest.raises(AssertionError):
        test(monkeypatch)
