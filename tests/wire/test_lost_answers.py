"""A write whose answer is lost on the way is sent again: the request succeeds, and it counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User

from django_multisession.core import keys
from django_multisession.core.records import Record, Tombstone
from django_multisession.drivers import base
from django_multisession.settings.conf import config
from tests.engine_fixtures import Count, Engine
from tests.proxy import TCPProxy
from tests.wire.conftest import on_each_kind
from tests.wire.visitor import Response, Visitor, as_visited, session_cookie

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

pytestmark = on_each_kind

#: What the proxy calls a write.
CHANGING = {"redis": "evalsha", "mongodb": "update", "memcached": "cas"}
ENDING = {"redis": "evalsha", "mongodb": "findAndModify", "memcached": "cas"}
WRITING = {"redis": "evalsha", "mongodb": "update", "memcached": "cas"}
ADDING = {"redis": "set", "mongodb": "insert", "memcached": "add"}
READING = {"redis": "get", "mongodb": "find", "memcached": "gets"}


async def _visit_with_lost_answer(
    proxy: TCPProxy, command: str, visitor: Visitor, page: str, **query: str
) -> Response:
    """Visit *page* and lose the first answer to *command*, which is then seen twice."""
    proxy.reset()
    proxy.cut_next_answer(command)
    response = await visitor.get(page, **query)
    sent = [name for name in proxy.commands if name.lower() == command.lower()]
    assert len(sent) == 2, proxy.commands
    return response


async def _warm_up(visitor: Visitor) -> None:
    """Bring Redis its scripts and MongoDB its indexes, which would be further writes."""
    visitor = visitor.stranger()
    await visitor.get("write", name="first")
    await visitor.get("write", name="second")
    await visitor.get("login", user="ada")
    await visitor.get("logout")


def _storage_key(key: str | None) -> str:
    verified = keys.verify(key or "", config().signing_keys)
    assert verified is not None
    return verified.storage_key


async def _stored(engine: Engine, visitor: Visitor, key: str | None) -> Any:
    """Return what the server has under the session key *key*."""
    if visitor.is_async:
        return await base.arun(engine.driver.get(_storage_key(key)))
    return base.run(engine.driver.get(_storage_key(key)))


@as_visited
async def test_a_new_session_is_stored_once(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, ada: User, count_stored: Count
) -> None:
    await _warm_up(visitor)
    before = count_stored()
    response = await _visit_with_lost_answer(
        proxy, ADDING[engine.kind], visitor, "write", name="new"
    )
    assert response.status_code == 200
    assert count_stored() == before + 1
    stored = await _stored(engine, visitor, visitor.key)
    assert len(stored.revisions) == 1
    assert (await visitor.get("read")).json() == {"name": "new"}


@as_visited
async def test_a_change_is_no_conflict_with_itself(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, ada: User, count_stored: Count
) -> None:
    await _warm_up(visitor)
    await visitor.get("write", name="first")
    before = count_stored()
    response = await _visit_with_lost_answer(
        proxy, CHANGING[engine.kind], visitor, "write", name="second"
    )
    assert (response.status_code, session_cookie(response)) == (200, visitor.key)
    assert count_stored() == before
    stored = await _stored(engine, visitor, visitor.key)
    # A conflict would have been written over, by one revision more.
    assert len(stored.revisions) == 2
    assert (await visitor.get("read")).json() == {"name": "second"}


@as_visited
async def test_a_login_moves_the_session_once(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, ada: User, count_stored: Count
) -> None:
    await _warm_up(visitor)
    await visitor.get("write", name="kept")
    old_key = visitor.key
    before = count_stored()
    response = await _visit_with_lost_answer(
        proxy, WRITING[engine.kind], visitor, "login", user="ada"
    )
    assert (response.status_code, session_cookie(response)) == (200, visitor.key)
    # The new record, and what is left of the old one.
    assert count_stored() == before + 1
    assert isinstance(await _stored(engine, visitor, old_key), Tombstone)
    stored = await _stored(engine, visitor, visitor.key)
    assert (stored.user_id, len(stored.revisions)) == (str(ada.pk), 2)
    assert (await visitor.get("read")).json() == {"name": "kept"}
    assert (await visitor.get("user")).json() == {"user": "ada"}


@as_visited
async def test_a_use_is_noted(
    *, engine: Engine, proxy: TCPProxy, visitor: Visitor, clock: Clock, settings: Settings
) -> None:
    settings.MULTISESSION_TOUCH_INTERVAL = 60
    await visitor.get("write", name="first")
    # Brings Redis the script.
    clock.advance(seconds=61)
    await visitor.get("read")
    used_at = clock.advance(seconds=61)
    before = await _stored(engine, visitor, visitor.key)
    response = await _visit_with_lost_answer(proxy, CHANGING[engine.kind], visitor, "read")
    assert (response.status_code, response.json()) == (200, {"name": "first"})
    stored = await _stored(engine, visitor, visitor.key)
    assert isinstance(stored, Record)
    assert (stored.touched_at, stored.revisions) == (used_at, before.revisions)


@as_visited
async def test_a_logout_ends_the_session_once(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, ada: User, count_stored: Count
) -> None:
    await _warm_up(visitor)
    await visitor.get("login", user="ada")
    late = visitor.copy()
    before = count_stored()
    response = await _visit_with_lost_answer(proxy, ENDING[engine.kind], visitor, "logout")
    assert (response.status_code, session_cookie(response)) == (200, "")
    assert count_stored() == before
    assert isinstance(await _stored(engine, visitor, late.key), Tombstone)
    assert (await late.get("user")).json() == {"user": ""}


@as_visited
async def test_a_read_is_asked_again(
    engine: Engine, proxy: TCPProxy, visitor: Visitor, ada: User
) -> None:
    await _warm_up(visitor)
    await visitor.get("write", name="first")
    response = await _visit_with_lost_answer(proxy, READING[engine.kind], visitor, "read")
    assert (response.status_code, response.json()) == (200, {"name": "first"})
