"""A Sentinel that watches one master, and the alias of a cache that leads there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import RedisServer

from tests.drivers.redis_fixtures import within_deadline


def alias_to(settings: Any, location: Any, **options: Any) -> dict[str, Any]:
    settings.CACHES = {
        "sessions": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": location,
            "OPTIONS": options,
        }
    }
    return {"CACHE_ALIAS": "sessions"}


class Sentinel(RedisServer):
    """A Redis Sentinel that watches one master."""

    master: RedisServer

    def _arguments(self) -> list[str]:
        config = self.directory / "sentinel.conf"
        config.write_text(
            f"bind {self.host}\nport {self.port}\ndir {self.directory}\n"
            f"sentinel monitor mymaster {self.master.host} {self.master.port} 1\n"
        )
        return [str(config), "--sentinel"]

    _ready = "+monitor master mymaster"


@pytest.fixture
def sentinel(own_redis: RedisServer, tmp_path: Path) -> Iterator[Sentinel]:
    server = Sentinel(own_redis.binary, tmp_path / "sentinel")
    server.master = own_redis
    with server, redis.Redis(port=server.port) as client:
        # It answers before it has spoken to the master.
        within_deadline(lambda: client.sentinel_masters()["mymaster"]["flags"] == "master")
        yield server


def through_sentinel(
    settings: Any, sentinel: Sentinel, location: str = "redis://mymaster/3", **options: Any
) -> dict[str, Any]:
    return alias_to(
        settings,
        location,
        CLIENT_CLASS="django_redis.client.SentinelClient",
        CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
        SENTINELS=[("127.0.0.1", 1), (sentinel.host, sentinel.port)],
        **options,
    )
