"""Two tiers over an engine whose sessions another one lists: no one reads a list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from django.contrib.auth.models import User

from django_multisession.engine import close_drivers
from django_multisession.engines.tiered import SessionStore
from tests.engine_fixtures import Engine, use_engine
from tests.user_sessions.conftest import log_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

ENGINES = "django_multisession.engines"


@pytest.mark.parametrize(("front", "back"), [("memcached", "database"), ("database", "memcached")])
def test_two_tiers_send_the_listing_engine_nothing(
    engine: Engine,
    user: User,
    settings: Settings,
    running_servers: Running,
    front: str,
    back: str,
) -> None:
    use_engine("database-sqlite", settings, running_servers)
    settings.SESSION_ENGINE = f"{ENGINES}.tiered"
    settings.MULTISESSION_TIERED = {"FRONT": f"{ENGINES}.{front}", "BACK": f"{ENGINES}.{back}"}
    close_drivers()
    with redis.Redis.from_url(settings.MULTISESSION_REDIS["URL"]) as server:
        before = server.info("stats")["total_commands_processed"]
        store = SessionStore()
        log_in(store, user)
        store.save()
        for _ in range(2):
            again = SessionStore(store.session_key)
            again["count"] = again.get("count", 0) + 1
            again.save()
        again.cycle_key()
        again.save()
        SessionStore(again.session_key).flush()
        assert server.info("stats")["total_commands_processed"] == before + 1
