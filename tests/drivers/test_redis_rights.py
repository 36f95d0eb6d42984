"""The rights that the documentation asks for are enough for the Redis driver, and none is too many."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from servers import RedisServer

from django_multisession.drivers import base
from django_multisession.drivers.redis.driver import RedisDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import make_end, make_record
from tests.docs.pages import section_of
from tests.drivers.problems import problems_of
from tests.drivers.redis_fixtures import VERBS, Connect, connect, perform

if TYPE_CHECKING:
    from pytest_django import Settings

__all__ = ["connect"]

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
