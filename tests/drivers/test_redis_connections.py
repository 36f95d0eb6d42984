"""How the Redis driver connects, and what it does when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from django.core.exceptions import ImproperlyConfigured
from servers import RedisServer, free_port

from django_multisession.core.problems import Problem
from django_multisession.core.records import SAVED
from django_multisession.drivers import releases
from django_multisession.drivers.redis.address import Endpoint, endpoint_of, located
from django_multisession.drivers.redis.checks import _check_version, judged
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.driver.fixtures import NOW, make_end, make_record
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from django_multisession.testing.verbs import DriverVerbs, Run
from tests.drivers.problems import problems_of
from tests.drivers.redis_fixtures import (
    Connect,
    Verb,
    call,
    configure,
    connect,
    own_redis,
    run,
)
from tests.drivers.redis_sentinel import Sentinel, alias_to, sentinel, through_sentinel
from tests.rows import restoring

__all__ = ["call", "connect", "own_redis", "run", "sentinel"]

#: Where nothing listens: port 1 is privileged, and no Redis is there.
NOWHERE = "redis://127.0.0.1:1/0"


def test_making_a_driver_does_no_io() -> None:
    RedisDriver({"URL": NOWHERE})


@for_each("url", ["http://:secret@host/", "secret", "redis://:secret@host:x/", 3])
def test_a_wrong_url_is_told_without_it(url: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be a redis://") as caught:
        RedisDriver({"URL": url})
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@for_each(
    ("options", "told"),
    [
        ({"max_conections": 3}, "the unknown option max_conections: is it max_connections?"),
        ({"HOST": "secret"}, "the unknown option HOST: is it host?"),
        ({"db": 1, "x": 2}, "the unknown option x"),
        ({"redis_connect_func": "secret"}, "the unknown option redis_connect_func"),
        ({"ssl_ca_certs": "secret"}, "ssl_ca_certs without TLS: is the URL to be rediss://?"),
        ({"db": "secret"}, "a wrong value of db"),
        ({"max_connections": -1}, "a wrong value of max_connections"),
        ({"socket_timeout": 0}, "a wrong value of socket_timeout"),
        ({"socket_timeout": "secret"}, "a wrong value of socket_timeout"),
        ({"timeout": ["secret"]}, "a wrong value of timeout"),
        ({"password": ["secret"]}, "a wrong value of password"),
        ({"client_name": 3}, "a wrong value of client_name"),
        ({"socket_keepalive_options": "secret"}, "a wrong value of socket_keepalive_options"),
    ],
)
def test_an_unknown_or_wrong_option_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        RedisDriver({"URL": NOWHERE, **options})
    assert str(caught.value) == (
        f"MULTISESSION_REDIS must hold options of connections, by redis-py's names (got {told})."
    )
    assert caught.value.__context__ is None


@for_each(
    ("options", "told"),
    [
        ({"ssl_cert_reqs": "secret"}, "a wrong value of ssl_cert_reqs"),
        ({"ssl_min_version": "secret"}, "a wrong value of ssl_min_version"),
        ({"ssl_validate_ocsp": True}, "a wrong value of ssl_validate_ocsp"),
        ({"ssl_keyfil": "secret"}, "the unknown option ssl_keyfil: is it ssl_keyfile?"),
    ],
)
def test_an_unknown_or_wrong_option_of_tls_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        RedisDriver({"URL": NOWHERE.replace("redis:", "rediss:"), **options})
    assert f"(got {told})." in str(caught.value)


def endpoint_in(options: dict[str, Any]) -> Endpoint:
    return endpoint_of(located(options))


def test_an_alias_that_is_no_cache_on_redis_is_told(settings: Any) -> None:
    settings.CACHES = {"sessions": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with pytest.raises(ImproperlyConfigured, match="must name a cache on Redis"):
        RedisDriver({"CACHE_ALIAS": "sessions"})


@for_each("missing", ["redis", "django_redis"])
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
    from django_multisession.drivers.redis.driver import RedisDriver
    RedisDriver({{"CACHE_ALIAS": "default"}})
except ImproperlyConfigured as error:
    print(error)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.stdout == "Install django-multisession[redis] to use this engine.\n"


@for_each(
    "url",
    [
        "rediss://user:p%40ss@host:7/3?ssl_cert_reqs=none",
        "redis://user:p%40ss@host:7/3",
        "unix://user:p%40ss@/socket?db=3",
    ],
)
def test_what_the_url_says_reaches_the_connections(url: str) -> None:
    place = endpoint_in({"URL": url, "client_name": "django"})
    address = place.address
    assert address.credentials is not None
    assert address.credentials() == ("user", "p@ss")
    assert (address.database, address.client_name) == (3, "django")
    assert (address.path or f"{address.host}:{address.port}") in {"host:7", "/socket"}
    assert (address.tls is not None) == url.startswith("rediss")
    assert "p@ss" not in f"{place!r}"


def test_no_option_of_an_alias_makes_a_connection_retry_decode_or_wait_for_ever(
    settings: Any,
) -> None:
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
    place = endpoint_in(options)
    assert place.address.timeout == place.address.connect_timeout == place.patience == 2
    assert place.most == 50


def test_the_own_options_go_before_those_of_the_alias(settings: Any) -> None:
    alias = alias_to(settings, NOWHERE, CONNECTION_POOL_KWARGS={"max_connections": 7})
    for most in (7, 90):
        place = endpoint_in(alias if most == 7 else {**alias, "max_connections": most})
        assert place.most == most


def test_two_aliases_of_one_url_keep_their_own_options(settings: Any) -> None:
    for password in ("one", "other"):
        place = endpoint_in(alias_to(settings, NOWHERE, PASSWORD=password))
        assert place.address.credentials is not None
        assert place.address.credentials() == (password,)


def test_a_sharded_cache_is_no_place_for_sessions(settings: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="must name a cache on Redis"):
        RedisDriver(alias_to(settings, NOWHERE, CLIENT_CLASS="django_redis.client.ShardClient"))


def test_an_alias_gives_the_connection_for_writing(
    call: Verb, newest_redis: RedisServer, settings: Any
) -> None:
    options = alias_to(
        settings,
        [newest_redis.url, NOWHERE, NOWHERE],
        CONNECTION_POOL_KWARGS={"decode_responses": True},
    )
    driver, record = RedisDriver({**options, "KEY_PREFIX": f"test-{os.getpid()}:"}), make_record()
    for _ in range(20):
        call(driver.delete, "key", make_end())
        configure(newest_redis, "FLUSHDB")
        assert call(driver.add, "key", record)
        assert call(driver.get, "key") == record
    driver.close()


def djangos_alias_to(settings: Any, location: Any, **options: Any) -> dict[str, Any]:
    alias = alias_to(settings, location, **options)
    cache = {
        **settings.CACHES["sessions"],
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
    }
    settings.CACHES = {"sessions": cache}
    return alias


def test_djangos_own_cache_gives_the_connection_for_writing(
    call: Verb, newest_redis: RedisServer, settings: Any
) -> None:
    # An address with a number of its own goes before the option.
    url = newest_redis.url.removesuffix("/0")
    options = djangos_alias_to(settings, f"{url},{NOWHERE},{NOWHERE}", db=3)
    driver, record = RedisDriver({**options, "KEY_PREFIX": f"test-{os.getpid()}:"}), make_record()
    assert driver.server._endpoint.address.database == 3
    for _ in range(20):
        call(driver.delete, "key", make_end())
        with redis.Redis.from_url(url, db=3) as client:
            client.flushdb()
        assert call(driver.add, "key", record)
        assert call(driver.get, "key") == record
    driver.close()


def test_djangos_own_cache_needs_no_django_redis(newest_redis: RedisServer) -> None:
    program = f"""
import sys
sys.modules["django_redis"] = None
import django
from django.conf import settings
settings.configure(
    CACHES={{"default": {{
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": {newest_redis.url!r},
    }}}},
    MULTISESSION_REDIS={{"CACHE_ALIAS": "default"}},
    SECRET_KEY="x",
)
django.setup()
from django_multisession.engines.redis import SessionStore
session = SessionStore()
session["cart"] = [1]
session.save()
print(SessionStore(session.session_key)["cart"])
session.flush()
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.stdout, answer.stderr) == ("[1]\n", "")


@for_each(
    ("location", "options"),
    [
        ("rediss://user:p%40ss@host:7/3", {"max_connections": 7}),
        (
            "rediss://host:7",
            {"username": "user", "password": "p@ss", "db": 3, "max_connections": 7},
        ),
    ],
)
@restoring
def test_the_options_of_djangos_own_cache_reach_the_connections(
    settings: Any, location: str, options: dict[str, Any]
) -> None:
    place = endpoint_in(djangos_alias_to(settings, location, **options))
    address = place.address
    assert address.credentials is not None
    assert address.credentials() == ("user", "p@ss")
    assert (address.host, address.port, address.database, place.most) == ("host", 7, 3, 7)
    assert address.tls is not None
    assert address.timeout == address.connect_timeout == place.patience == 2


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


def test_sentinel_leads_to_the_master(
    run: Run | None, own_redis: RedisServer, sentinel: Sentinel, settings: Any
) -> None:
    driver = RedisDriver(through_sentinel(settings, sentinel))
    verbs, record = DriverVerbs(driver, run), make_record(user=None)
    assert verbs.add("key", record)
    new = next_write(record)
    assert verbs.replace("key", new, record, NOW) == SAVED
    assert verbs.get("key") == new
    with redis.Redis(port=own_redis.port, db=3) as client:
        assert client.keys() == [b"multisession:key"]
    verbs.close()


def test_without_a_sentinel_that_knows_the_master_redis_is_unavailable(
    run: Run | None, sentinel: Sentinel, settings: Any
) -> None:
    verbs = DriverVerbs(RedisDriver(through_sentinel(settings, sentinel)), run)
    sentinel.stop()
    with pytest.raises(StoreUnavailable, match="MasterNotFoundError"):
        verbs.get("key")
    verbs.close()


def test_while_sentinels_hang_no_server_is_named_that_does_not_exist(
    run: Run | None, sentinel: Sentinel, settings: Any
) -> None:
    options = through_sentinel(settings, sentinel)
    # Longer than a coroutine waits for its first address.
    settings.CACHES["sessions"]["OPTIONS"]["SENTINEL_KWARGS"] = {"socket_timeout": 2.2}
    verbs = DriverVerbs(RedisDriver(options), run)
    sentinel.pause()
    try:
        with pytest.raises(StoreUnavailable, match=r"the (primary|master) of 'mymaster'"):
            verbs.get("key")
    finally:
        sentinel.resume()
    verbs.close()


def test_a_good_server_has_nothing_to_be_told(redis_server: RedisServer, connect: Connect) -> None:
    assert problems_of(connect(redis_server)) == []


def told(messages: list[Problem]) -> list[tuple[str, str]]:
    return [(message.id, message.hint) for message in messages]


def test_a_server_that_is_down_is_a_warning() -> None:
    hint = "Start the server, or correct its address in MULTISESSION_REDIS."
    assert told(RedisDriver({"URL": NOWHERE}).check()) == [("multisession.W101", hint)]


@for_each("version", ["6.0.16", "5.0.0", "", "6"])
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
    assert problems_of(driver) == []
    configure(own_redis, "CONFIG", "SET", "maxmemory", "100mb")
    hint = "Give sessions a Redis of their own, apart from caches, with noeviction."
    assert told(problems_of(driver)) == [("multisession.W103", hint)]


def test_a_redis_cluster_is_an_error(
    request: pytest.FixtureRequest, newest_redis: RedisServer, connect: Connect, tmp_path: Path
) -> None:
    # By default the port of its bus is 10,000 above its own, where there may be none.
    bus = str(free_port(request.node))
    options = ("--cluster-enabled", "yes", "--cluster-port", bus)
    with RedisServer(newest_redis.binary, tmp_path / "cluster", *options) as server:
        driver = connect(server)
        hint = "Give sessions a Redis of their own; Sentinel makes it fail over."
        assert told(problems_of(driver)) == [("multisession.E104", hint)]


def test_the_check_compares_the_release_of_the_server(
    redis_server: RedisServer, connect: Connect
) -> None:
    problems = [each for each in connect(redis_server).check() if each.id == "multisession.W106"]
    with redis.Redis.from_url(redis_server.url) as client:
        version = client.info("server")["redis_version"]
    fixed = releases.fix_for(tuple(map(int, version.split("."))), releases.REDIS)
    if fixed is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.message.startswith(f"Redis {version} is older than ")
        assert problem.hint == f"Upgrade the server to {releases.dotted(fixed)} or later."


@for_each(
    ("facts", "fixed"),
    [
        ({"redis_version": "6.2.23"}, "6.2.24"),
        ({"redis_version": "6.2.24"}, None),
        # Series that got no fix of their own are left for the next one.
        ({"redis_version": "7.0.15"}, "7.2.16"),
        ({"redis_version": "8.0.6"}, "8.2.10"),
        ({"redis_version": "8.2.9"}, "8.2.10"),
        ({"redis_version": "8.4.6"}, None),
        ({"redis_version": "8.10.1"}, "8.10.2"),
        ({"redis_version": "8.10.2"}, None),
        ({"redis_version": "8.12.0"}, None),
        ({"redis_version": "255.255.255"}, None),
        # Valkey calls itself 7.2.4, to clients that know Redis only.
        ({"redis_version": "7.2.4", "valkey_version": "7.2.14"}, "7.2.15"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.11"}, None),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.6"}, "9.0.7"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.3"}, None),
        ({"redis_version": "7.2.4", "valkey_version": "9.2.0"}, None),
    ],
)
def test_a_server_is_named_that_is_older_than_its_last_security_release(
    facts: dict[str, str], fixed: str | None
) -> None:
    name = "Valkey" if "valkey_version" in facts else "Redis"
    version = facts.get("valkey_version", facts["redis_version"])
    found = [(each.id, each.message, each.hint) for each in judged(facts)]
    assert found == (
        []
        if fixed is None
        else [
            (
                "multisession.W106",
                f"{name} {version} is older than {fixed}, which closed security holes.",
                f"Upgrade the server to {fixed} or later.",
            )
        ]
    )
