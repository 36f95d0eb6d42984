"""The rights that the documentation asks for are enough for the Redis driver, and none is too many."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import redis
from servers import RedisServer

from django_multisession.drivers import base
from django_multisession.exceptions import StoreUnavailable
from django_multisession.testing.driver.fixtures import make_end, make_record
from tests.docs.pages import section_of
from tests.drivers.redis_fixtures import VERBS, Connect, connect, perform

__all__ = ["connect"]

RIGHTS = section_of("reference/engines.md", "## Redis", "### Commands and rights")


def perform_every_verb(driver: Any) -> None:
    for number, verb in enumerate(VERBS):
        for idle_age in (600, None):
            record = make_record(idle_age=idle_age, absolute_deadline_at=None)
            key = f"{number}-{idle_age}"
            assert base.run(driver.add(key, record))
            perform(lambda call, *arguments: base.run(call(*arguments)), driver, verb, record, key)
            base.run(driver.delete(key, make_end()))


def test_a_user_of_redis_needs_the_documented_rights_and_no_others(
    newest_redis: RedisServer, connect: Connect
) -> None:
    block = re.search(r"```text\n(.*)\n```", RIGHTS)
    assert block is not None
    commands = block[1].split()
    url = newest_redis.url.replace("://", "://documented:secret@")
    with redis.Redis.from_url(newest_redis.url) as admin:

        def works(granted: Iterable[str]) -> bool:
            rule = ["reset", "on", ">secret", "~test-*", *granted]
            admin.execute_command("ACL", "SETUSER", "documented", *rule)
            # A script that is known already would not be spelled out.
            admin.script_flush()
            driver = connect(Address(url))
            try:
                perform_every_verb(driver)
            except StoreUnavailable:
                return False
            return driver.check() == []

        try:
            assert works(commands)
            for command in commands:
                assert not works(each for each in commands if each != command), command
        finally:
            admin.execute_command("ACL", "DELUSER", "documented")


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a driver connects to."""

    url: str
