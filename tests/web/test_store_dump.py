"""What somebody who can read the store has in hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
import redis

from django_multisession.core import keys
from tests.engine_fixtures import Engine, memcached_items
from tests.web.conftest import OURS

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def session_middleware() -> str:
    """One will do: nothing is asked of it."""
    return OURS


def everything_in(engine: Engine, settings: Settings) -> bytes:
    """Return what somebody who can read the store finds there."""
    driver: Any = engine.driver
    if engine.kind == "memory":
        slots = driver.server.slots
        return b"".join(key.encode() + bytes(slot.raw) for key, slot in slots.items())
    if engine.kind == "redis":
        with redis.Redis.from_url(engine.server.url) as server:
            found = list(server.scan_iter(settings.MULTISESSION_REDIS["KEY_PREFIX"] + "*"))
            indexed = [name for name in found if b":user:" in name]
            held = [server.get(name) or b"" for name in found if name not in indexed]
            held += [entry for name in indexed for entry in server.zrange(name, 0, -1)]
            return b"".join(found + held)
    if engine.kind == "memcached":
        items = memcached_items(engine, settings)
        return b"".join(place.encode() + raw for place, raw in items.items())
    if engine.kind == "database":
        from django_multisession.database.models import Session

        rows = Session.objects.using(settings.MULTISESSION_DATABASE["ALIAS"])
        return repr(list(rows.values())).encode()
    options = settings.MULTISESSION_MONGODB
    with pymongo.MongoClient[dict[str, Any]](engine.server.url) as client:
        collection = client[options["DATABASE"]][options["COLLECTION"]]
        return repr(list(collection.find())).encode()


def test_what_a_server_holds_makes_no_cookie(
    engine_of_each_kind: Engine, settings: Settings
) -> None:
    engine = engine_of_each_kind
    session = engine.SessionStore()
    session["city"] = "Rome"
    session.save()
    session.cycle_key()
    session.save()
    session_key = session.session_key
    assert session_key is not None
    verified = keys.verify(session_key, [keys.derive(settings.SECRET_KEY.encode())])
    assert verified is not None
    found = everything_in(engine, settings)
    assert verified.storage_key.encode() in found
    assert b"Rome" in found
    assert session_key[:22].encode() not in found
    assert session_key[22:].encode() not in found
    for name in {verified.storage_key, *re.findall(r"[\w-]{40}", found.decode("latin-1"))}:
        assert not engine.SessionStore().exists(name)
