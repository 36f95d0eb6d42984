"""The how-to: what a restored backup revives, and the setting that ends it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymongo
import redis
from django.test import override_settings

from django_multisession.engines.mongodb import SessionStore as MongoSessionStore
from django_multisession.engines.redis import SessionStore as RedisSessionStore
from tests.docs.pages import blocks_of
from tests.docs.test_shown_settings import execute
from tests.engine_fixtures import use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from django_multisession.store import DriverSessionStore
    from tests.conftest import Running

PAGE = "docs/howto/restore-a-backup.md"


def ended_after_the_backup(store: type[DriverSessionStore], backup: Any, restore: Any) -> str:
    """Return the key of a session that was ended, and that a restored backup brought back."""
    session = store()
    session["name"] = "ada"
    session.save()
    key = session.session_key
    assert key is not None
    saved = backup()
    session.flush()
    assert store(key).get("name") is None
    restore(saved)
    return key


def assert_the_setting_ends_it(store: type[DriverSessionStore], key: str) -> None:
    # That is what the page is for.
    assert store(key).get("name") == "ada"
    (shown,) = blocks_of(PAGE)
    with override_settings(**execute(shown, {})):
        assert store(key).get("name") is None
        session = store()
        session["name"] = "grace"
        session.save()
        assert store(session.session_key).get("name") == "grace"


def test_a_session_that_a_restored_redis_brings_back_ends(
    settings: Settings, running_servers: Running
) -> None:
    engine = use_engine("redis-8.2", settings, running_servers)
    prefix = settings.MULTISESSION_REDIS["KEY_PREFIX"]
    with redis.Redis.from_url(engine.server.url) as server:

        def backup() -> dict[bytes, Any]:
            return {name: server.dump(name) for name in server.scan_iter(f"{prefix}*")}

        def restore(saved: dict[bytes, Any]) -> None:
            for name, value in saved.items():
                server.restore(name, 600_000, value, replace=True)

        key = ended_after_the_backup(RedisSessionStore, backup, restore)
    assert_the_setting_ends_it(RedisSessionStore, key)


def test_a_session_that_a_restored_mongodb_brings_back_ends(
    settings: Settings, running_servers: Running
) -> None:
    engine = use_engine("mongodb-standalone", settings, running_servers)
    options = settings.MULTISESSION_MONGODB
    with closing(pymongo.MongoClient[dict[str, Any]](engine.server.url)) as client:
        sessions = client[options["DATABASE"]][options.get("COLLECTION", "django_multisession")]

        def restore(saved: list[Any]) -> None:
            sessions.delete_many({})
            sessions.insert_many(saved)

        key = ended_after_the_backup(MongoSessionStore, lambda: list(sessions.find()), restore)
    assert_the_setting_ends_it(MongoSessionStore, key)
