"""The rights that the documentation asks for are enough for the Redis driver, and none is too many."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from servers import RedisServer

from django_multisession.drivers import base
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import make_end, make_record
from django_multisession.testing.rows import for_each
from tests.docs.pages import section_of
from tests.drivers.problems import problems_of
from tests.drivers.redis_fixtures import (
    VERBS,
    Connect,
    configure,
    connect,
    own_redis,
    perform,
)
from tests.drivers.redis_sentinel import Sentinel, sentinel, through_sentinel
from tests.drivers.test_redis_tls import TLSEnd, certificates

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["certificates", "connect", "own_redis", "sentinel"]

DJANGOS_CACHE = "django.core.cache.backends.redis.RedisCache"

RIGHTS = section_of("reference/engines.md", "## Redis", "### Commands and rights")


def perform_every_verb(driver: Any) -> None:
    for number, verb in enumerate(VERBS):
        for idle_age in (600, None):
            record = make_record(idle_age=idle_age, absolute_deadline_at=None)
            key = f"{number}-{idle_age}"
            assert base.run(driver.add(key, record))
            perform(lambda call, *arguments: base.run(call(*arguments)), driver, verb, record, key)
            base.run(driver.delete(key, make_end()))


BLOCK = re.search(r"```text\n(.*)\n```", RIGHTS)
assert BLOCK is not None
COMMANDS = BLOCK[1].split()
#: What Sentinels must let their user do.
SENTINEL = re.search(r"Sentinels.+?`(\+\S+)`", RIGHTS)
#: What the page's table says of options.
FURTHER = {
    use: right.replace("\\|", "|")
    for use, right in re.findall(r"^\| (.+?) \| `(\+.+?)` \|$", RIGHTS, re.MULTILINE)
}


class Documented:
    """A user of Redis whose rights a test chooses."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._admin: Any = redis.Redis.from_url(server.url)

    def grant(self, commands: Iterable[str]) -> None:
        rule = ["reset", "on", ">secret", "~test-*", *commands]
        self._admin.execute_command("ACL", "SETUSER", "documented", *rule)
        # A script that is known already would not be spelled out.
        self._admin.script_flush()

    def url(self, end: str = "") -> str:
        return self.server.url.rpartition("/")[0].replace("://", "://documented:secret@") + end

    def close(self) -> None:
        self._admin.execute_command("ACL", "DELUSER", "documented")
        self._admin.close()


@pytest.fixture
def documented(newest_redis: RedisServer) -> Iterator[Documented]:
    user = Documented(newest_redis)
    yield user
    user.close()


def test_a_user_of_redis_needs_the_documented_rights_and_no_others(
    documented: Documented, connect: Connect
) -> None:
    def works(granted: Iterable[str]) -> bool:
        documented.grant(granted)
        driver = connect(Address(documented.url("/0")))
        try:
            perform_every_verb(driver)
        except StoreUnavailable:
            return False
        return problems_of(driver) == []

    assert works(COMMANDS)
    for command in COMMANDS:
        assert not works(each for each in COMMANDS if each != command), command


def test_the_check_names_each_right_that_is_missing(
    documented: Documented, connect: Connect
) -> None:
    for command in COMMANDS:
        documented.grant(each for each in COMMANDS if each != command)
        (problem,) = connect(Address(documented.url("/0"))).check()
        assert problem.id == "multisession.E105"
        assert f" refused '{command[1:]}' (NOPERM). Give its user the rights" in problem.message
        assert "secret" not in f"{problem.message} {problem.hint}"


def test_the_check_leaves_nothing_that_stays(documented: Documented, connect: Connect) -> None:
    documented.grant(COMMANDS)
    with redis.Redis.from_url(documented.server.url) as admin:
        before = set(admin.scan_iter())
        assert problems_of(connect(Address(documented.url("/0")))) == []
        left = set(admin.scan_iter()) - before
        assert all(0 < admin.ttl(name) <= 120 for name in left)


#: Use → its address, and the options of a client.
USES: dict[str, tuple[str, dict[str, Any]]] = {
    "a database other than 0": ("/1", {}),
    "`client_name`": ("/0", {"client_name": "shop"}),
}


def test_the_page_names_every_use_that_needs_a_further_right() -> None:
    assert FURTHER.keys() == USES.keys()


@pytest.mark.parametrize("use", USES)
def test_an_option_needs_its_documented_right(
    documented: Documented, connect: Connect, use: str
) -> None:
    end, options = USES[use]
    for granted in (COMMANDS, [*COMMANDS, FURTHER[use]]):
        documented.grant(granted)
        driver = connect(Address(documented.url(end)), **options)
        if granted is COMMANDS:
            with pytest.raises(StoreUnavailable, match=r"refused '[a-z|]+' \(NOPERM\)") as caught:
                base.run(driver.get("key"))
            assert caught.value.kind is OutageKind.REFUSED
            assert [problem.id for problem in driver.check()] == ["multisession.E105"]
        else:
            perform_every_verb(driver)
            assert problems_of(driver) == []


@pytest.mark.parametrize("use", USES)
def test_an_option_needs_no_further_right_of_a_coroutine(
    documented: Documented, connect: Connect, use: str
) -> None:
    end, options = USES[use]
    documented.grant([*COMMANDS, FURTHER[use]])
    driver = connect(Address(documented.url(end)), **options)

    async def visit() -> None:
        record = make_record()
        assert await base.arun(driver.add("of a coroutine", record))
        assert await base.arun(driver.get("of a coroutine")) == record
        await base.arun(driver.delete("of a coroutine", make_end()))
        await driver.aclose()

    asyncio.run(visit())


@dataclasses.dataclass(frozen=True, slots=True)
class Doors:
    """The ways into one server: its user's login, its port, its socket, and TLS.

    Attributes:
        login: ``user:password@``.
        host: Its host and port.
        path: Of its Unix socket.
        tls: Host and port of where TLS is spoken.
        authority: The file that signed the certificate there.
    """

    login: str
    host: str
    path: str
    tls: str
    authority: str


@pytest.fixture
def doors(newest_redis: RedisServer, tmp_path: Path, certificates: Path) -> Iterator[Doors]:
    with (
        # A path of pytest's may be longer than a socket's.
        tempfile.TemporaryDirectory() as short,
        RedisServer(
            newest_redis.binary, tmp_path / "redis", "--unixsocket", path := f"{short}/redis.sock"
        ) as server,
        TLSEnd(server, certificates) as end,
    ):
        user = Documented(server)
        user.grant(COMMANDS)
        _, _, tls = end.url.partition("://")
        yield Doors(
            "documented:secret@",
            f"{server.host}:{server.port}",
            path,
            tls.removesuffix("/0"),
            str(certificates / "authority.crt"),
        )
        user.close()


#: Every documented form of an address and of a login, in database 0.
FORMS: dict[str, Callable[[Doors], dict[str, Any]]] = {
    "redis": lambda doors: {"URL": f"redis://{doors.login}{doors.host}"},
    "redis and a path": lambda doors: {"URL": f"redis://{doors.login}{doors.host}/0"},
    "redis and a query": lambda doors: {"URL": f"redis://{doors.login}{doors.host}?db=0"},
    "rediss": lambda doors: {
        "URL": f"rediss://{doors.login}{doors.tls}/0",
        "ssl_ca_certs": doors.authority,
    },
    "unix": lambda doors: {"URL": f"unix://{doors.login}{doors.path}"},
    "unix and a query": lambda doors: {"URL": f"unix://{doors.login}{doors.path}?db=0"},
    "options for the login": lambda doors: {
        "URL": f"redis://{doors.host}/0",
        "username": "documented",
        "password": "secret",
    },
    "options for the login at a socket": lambda doors: {
        "URL": f"unix://{doors.path}",
        "username": "documented",
        "password": "secret",
    },
    "a provider of the login": lambda doors: {
        "URL": f"redis://{doors.host}/0",
        "credential_provider": redis.UsernamePasswordCredentialProvider("documented", "secret"),
    },
    "all further options": lambda doors: {
        "URL": f"redis://{doors.login}{doors.host}/0",
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "max_connections": 3,
        "timeout": 1,
        "health_check_interval": 1,
        "protocol": 3,
    },
}


@for_each("form", FORMS)
def test_no_form_of_an_address_needs_a_further_right(doors: Doors, form: str) -> None:
    works_with_its_rights(FORMS[form](doors))


@pytest.mark.parametrize("form", ["unix", "rediss"])
def test_a_database_needs_its_right_at_every_address(doors: Doors, form: str) -> None:
    options = {**FORMS[form](doors), "db": 1}
    driver = RedisDriver(options)
    with pytest.raises(StoreUnavailable, match=r"refused 'select' \(NOPERM\)"):
        base.run(driver.get("key"))
    driver.close()
    with redis.Redis(unix_socket_path=doors.path) as admin:
        admin.execute_command("ACL", "SETUSER", "documented", "+select")
    works_with_its_rights(options)


def works_with_its_rights(options: dict[str, Any]) -> None:
    prefix = f"test-{uuid.uuid4().hex}:"

    async def visit() -> None:
        driver, record = RedisDriver({"KEY_PREFIX": prefix, **options}), make_record()
        assert await base.arun(driver.add("of a coroutine", record))
        assert await base.arun(driver.get("of a coroutine")) == record
        await driver.aclose()

    driver = RedisDriver({"KEY_PREFIX": prefix, **options})
    perform_every_verb(driver)
    assert problems_of(driver) == []
    driver.close()
    asyncio.run(visit())


def test_the_documented_rights_suffice_behind_sentinels(
    own_redis: RedisServer, sentinel: Sentinel, settings: Settings
) -> None:
    user = Documented(own_redis)
    user.grant(COMMANDS)
    assert SENTINEL is not None
    of_sentinel = {"username": "asking", "password": "secret"}
    options = through_sentinel(
        settings,
        sentinel,
        "redis://documented:secret@mymaster/0",
        SENTINEL_KWARGS=of_sentinel,
    )
    for granted in ((), (SENTINEL[1],)):
        configure(sentinel, "ACL", "SETUSER", "asking", "reset", "on", ">secret", *granted)
        if granted:
            works_with_its_rights(options)
        else:
            driver = RedisDriver(options)
            with pytest.raises(StoreUnavailable, match="No Sentinel"):
                base.run(driver.get("key"))
            driver.close()
    user.close()


@pytest.mark.parametrize("backend", ["django_redis.cache.RedisCache", DJANGOS_CACHE])
def test_a_cache_alias_needs_no_further_right(
    documented: Documented, settings: Settings, backend: str
) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "sessions": {"BACKEND": backend, "LOCATION": documented.url("/0")},
    }
    documented.grant(COMMANDS)
    driver = RedisDriver({"CACHE_ALIAS": "sessions", "KEY_PREFIX": f"test-{uuid.uuid4().hex}:"})
    perform_every_verb(driver)
    assert problems_of(driver) == []
    driver.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a driver connects to."""

    url: str
