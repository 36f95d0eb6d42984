"""How the Redis driver connects, and what it does when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from servers import RedisServer

from django_multisession.core.records import SAVED
from django_multisession.drivers.redis import RedisDriver
from django_multisession.drivers.redis_checks import _check_version
from django_multisession.drivers.redis_connections import connections
from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.driver_fixtures import NOW, make_end, make_record, next_write
from tests.drivers.redis_fixtures import (
    Connect,
    Verb,
    call,
    configure,
    connect,
    own_redis,
    within_deadline,
)

__all__ = ["call", "connect", "own_redis"]

#: Where nothing listens: port 1 is privileged, and no Redis is there.
NOWHERE = "redis://127.0.0.1:1/0"


def alias_to(settings: Any, location: Any, **options: Any) -> dict[str, Any]:
    settings.CACHES = {
        "sessions": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": location,
            "OPTIONS": options,
        }
    }
    return {"ALIAS": "sessions"}


def test_making_a_driver_does_no_io() -> None:
    RedisDriver({"URL": NOWHERE})


@pytest.mark.parametrize("url", ["http://:secret@host/", "secret", "redis://:secret@host:x/", 3])
def test_a_wrong_url_is_told_without_it(url: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be a redis://") as caught:
        RedisDriver({"URL": url})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("options", [{"max_conections": 3}, {"HOST": "secret"}, {"db": 1, "x": 2}])
def test_an_option_that_redis_py_does_not_take_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match="unexpected keyword argument") as caught:
        RedisDriver({"URL": NOWHERE, **options})
    assert "secret" not in str(caught.value)


def test_an_alias_that_is_no_django_redis_cache_is_told(settings: Any) -> None:
    settings.CACHES = {"sessions": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with pytest.raises(ImproperlyConfigured, match="must name a django-redis cache"):
        RedisDriver({"ALIAS": "sessions"})


@pytest.mark.parametrize("missing", ["redis", "django_redis"])
def test_a_missing_library_is_told_with_what_to_install(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
import django
from django.conf import settings
settings.configure(CACHES={{"default": {{"BACKEND": "django_redis.cache.RedisCache"}}}})
django.setup()
from django.core.exceptions import ImproperlyConfigured
try:
    from django_multisession.drivers.redis import RedisDriver
    RedisDriver({{"ALIAS": "default"}})
except ImproperlyConfigured as error:
    print(error)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.stdout == "Install django-multisession[redis] to use this engine.\n"


@pytest.mark.parametrize(
    ("url", "async_class"),
    [
        ("rediss://user:p%40ss@host:7/3?ssl_cert_reqs=none", redis.asyncio.SSLConnection),
        ("redis://user:p%40ss@host:7/3", redis.asyncio.Connection),
        ("unix://user:p%40ss@/socket?db=3", redis.asyncio.UnixDomainSocketConnection),
    ],
)
def test_what_the_url_says_reaches_the_async_connections_too(url: str, async_class: type) -> None:
    found = connections({"URL": url, "client_name": "django"})
    connection: Any = found.open_async_client().connection_pool.make_connection()
    assert [connection.__class__] == [async_class]
    assert (connection.username, connection.password) == ("user", "p@ss")
    assert (connection.db, connection.client_name) == (3, "django")


def test_no_client_retries_decodes_or_waits_for_ever(settings: Any) -> None:
    options = alias_to(
        settings,
        f"{NOWHERE}?retry_on_timeout=1",
        CONNECTION_POOL_KWARGS={
            "decode_responses": True,
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 9),
            "retry_on_error": [TimeoutError],
            "protocol": 3,
            "health_check_interval": 1,
            "encoding": "utf-16",
        },
    )
    found = connections(options)
    for client in (found.open_client(), found.open_async_client()):
        made = client.connection_pool.make_connection()
        assert made.retry._retries == 0
        assert not made.retry_on_timeout
        assert not made.retry_on_error
        assert made.socket_timeout == made.socket_connect_timeout == 2
        assert not made.encoder.decode_responses
        assert made.protocol == 2
        assert made.health_check_interval == 0
        assert client.connection_pool.timeout == 2
        assert client.connection_pool.max_connections == 50


def test_the_own_options_go_before_those_of_the_alias(settings: Any) -> None:
    alias = alias_to(settings, NOWHERE, CONNECTION_POOL_KWARGS={"max_connections": 7})
    assert connections(alias).max_connections == 7
    assert connections({**alias, "max_connections": 90}).max_connections == 90


def test_two_aliases_of_one_url_keep_their_own_options(settings: Any) -> None:
    for password in ("one", "other"):
        found = connections(alias_to(settings, NOWHERE, PASSWORD=password))
        assert found.options["password"] == password


def test_a_sharded_cache_is_no_place_for_sessions(settings: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="must name a django-redis cache"):
        RedisDriver(alias_to(settings, NOWHERE, CLIENT_CLASS="django_redis.client.ShardClient"))


def test_an_alias_gives_the_connection_for_writing(
    call: Verb, newest_redis: RedisServer, settings: Any
) -> None:
    options = alias_to(
        settings,
        [newest_redis.url, NOWHERE, NOWHERE],
        CONNECTION_POOL_KWARGS={"decode_responses": True},
    )
    driver, record = RedisDriver({**options, "PREFIX": f"test-{os.getpid()}:"}), make_record()
    for _ in range(20):
        call(driver.delete, "key", make_end())
        driver._client.flushdb()
        assert call(driver.add, "key", record)
        assert call(driver.get, "key") == record
    driver.close()


def test_a_unix_socket_is_spoken_to(
    call: Verb, newest_redis: RedisServer, tmp_path: Path, connect: Connect
) -> None:
    with (
        # A path of pytest's may be longer than a socket's.
        tempfile.TemporaryDirectory() as short,
        RedisServer(
            newest_redis.binary, tmp_path / "redis", "--unixsocket", path := f"{short}/redis.sock"
        ) as server,
    ):
        driver, record = connect(server, URL=f"unix://{path}?db=2"), make_record()
        assert call(driver.add, "key", record)
        assert call(driver.get, "key") == record


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


def through_sentinel(settings: Any, sentinel: Sentinel) -> dict[str, Any]:
    return alias_to(
        settings,
        "redis://mymaster/3",
        CLIENT_CLASS="django_redis.client.SentinelClient",
        CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
        SENTINELS=[("127.0.0.1", 1), (sentinel.host, sentinel.port)],
    )


def test_sentinel_leads_to_the_master(
    call: Verb, own_redis: RedisServer, sentinel: Sentinel, settings: Any
) -> None:
    driver, record = RedisDriver(through_sentinel(settings, sentinel)), make_record()
    assert call(driver.add, "key", record)
    new = next_write(record)
    assert call(driver.replace, "key", new, record, NOW) == SAVED
    assert call(driver.get, "key") == new
    with redis.Redis(port=own_redis.port, db=3) as client:
        assert client.keys() == [b"multisession:key"]
    call(driver.close)


def test_without_a_sentinel_that_knows_the_master_redis_is_unavailable(
    call: Verb, sentinel: Sentinel, settings: Any
) -> None:
    driver = RedisDriver(through_sentinel(settings, sentinel))
    sentinel.stop()
    with pytest.raises(StoreUnavailable, match="MasterNotFoundError"):
        call(driver.get, "key")
    call(driver.close)


def test_a_good_server_has_nothing_to_be_told(redis_server: RedisServer, connect: Connect) -> None:
    assert connect(redis_server).check() == []


def told(messages: list[CheckMessage]) -> list[tuple[str | None, str | None]]:
    return [(message.id, message.hint) for message in messages]


def test_a_server_that_is_down_is_a_warning() -> None:
    hint = "Is it running? Are its address, user and password right?"
    assert told(RedisDriver({"URL": NOWHERE}).check()) == [("multisession.W101", hint)]


@pytest.mark.parametrize("version", ["6.0.16", "5.0.0", "", "6"])
def test_an_old_server_is_an_error(version: str) -> None:
    # No such server can be installed any more; what it would say is known.
    messages = _check_version({"redis_version": version})
    assert told(messages) == [("multisession.E102", "Upgrade the server.")]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_throws_sessions_away_is_a_warning(
    own_redis: RedisServer, connect: Connect, policy: str
) -> None:
    driver = connect(own_redis)
    configure(own_redis, "CONFIG", "SET", "maxmemory-policy", policy)
    assert driver.check() == []
    configure(own_redis, "CONFIG", "SET", "maxmemory", "100mb")
    hint = "Give sessions a Redis of their own, apart from caches, with noeviction."
    assert told(driver.check()) == [("multisession.W103", hint)]


def test_a_redis_cluster_is_an_error(
    newest_redis: RedisServer, connect: Connect, tmp_path: Path
) -> None:
    options = ("--cluster-enabled", "yes")
    with RedisServer(newest_redis.binary, tmp_path / "cluster", *options) as server:
        driver = connect(server)
        hint = "Give sessions a Redis of their own; Sentinel makes it fail over."
        assert told(driver.check()) == [("multisession.E104", hint)]
