"""A Redis that fails over: a primary, its replicas and three Sentinels, all on this machine."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import redis
from servers import POLL_SECONDS, START_SECONDS, RedisServer, ServerFailed, Startable, free_port

SERVICE = "sessions"
#: How long a primary must not answer before a Sentinel calls it down; Redis's own default is 30 s.
DOWN_AFTER_MILLISECONDS = 1000
SENTINELS, QUORUM = 3, 2
#: What Sentinels and replicas log in as: taking it from them parts them from the primary alone.
INSIDER, SITE, PASSWORD = "insider", "site", "of-both"


class _Member(RedisServer):
    """A primary or a replica, by who the Sentinels say it is."""

    primary: _Member | None = None

    def _arguments(self) -> list[str]:
        own = [
            # Whoever has not logged in may do nothing.
            *("--user", "default", "off"),
            *("--user", INSIDER, "on", f">{PASSWORD}", "~*", "&*", "+@all"),
            *("--user", SITE, "on", f">{PASSWORD}", "~*", "&*", "+@all"),
            *("--masteruser", INSIDER, "--masterauth", PASSWORD),
            # A replica comes at once, and not with those of the next five seconds.
            *("--repl-diskless-sync-delay", "0"),
        ]
        if self.primary is not None:
            own += ["--replicaof", self.primary.host, str(self.primary.port)]
        return [*super()._arguments(), *own]


class _Sentinel(RedisServer):
    """A Sentinel that knows the others from the beginning; they would need seconds to meet."""

    _ready = "+monitor master"

    def __init__(self, binary: Path, directory: Path, primary: _Member, down_after: int) -> None:
        super().__init__(binary, directory)
        self._primary, self._down_after = primary, down_after
        self.name = secrets.token_hex(20)
        self.others: list[_Sentinel] = []
        self.port = free_port(self)

    def _arguments(self) -> list[str]:
        lines = [
            f"bind {self.host}",
            f"port {self.port}",
            f"dir {self.directory}",
            f"sentinel myid {self.name}",
            f"sentinel monitor {SERVICE} {self._primary.host} {self._primary.port} {QUORUM}",
            f"sentinel auth-user {SERVICE} {INSIDER}",
            f"sentinel auth-pass {SERVICE} {PASSWORD}",
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after}",
            f"sentinel failover-timeout {SERVICE} 10000",
            *(
                f"sentinel known-sentinel {SERVICE} {other.host} {other.port} {other.name}"
                for other in self.others
            ),
        ]
        config = self.directory / "sentinel.conf"
        # It writes there what it learns.
        if not config.exists():
            config.write_text("\n".join([*lines, ""]))
        return [str(config), "--sentinel"]


class RedisWithSentinels(Startable):
    """Takes what a server takes, for its primary and its replicas.

    Args:
        binary: What to run.
        directory: Their own.
        options: More command-line options, not for the Sentinels.
        replicas: How many there are.
        down_after: Milliseconds without an answer until a Sentinel calls the primary down.
    """

    def __init__(
        self,
        binary: Path,
        directory: Path,
        *options: str,
        replicas: int = 1,
        down_after: int = DOWN_AFTER_MILLISECONDS,
    ) -> None:
        super().__init__(binary, directory, *options)
        self._down_after = down_after
        places = [directory / f"member-{number}" for number in range(1 + replicas)]
        self.first, *self._others = [_Member(binary, place, *options) for place in places]
        self._sentinels: list[_Sentinel] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return where the Sentinels are."""
        return [(sentinel.host, sentinel.port) for sentinel in self._sentinels]

    def caches(self, **options: Any) -> dict[str, Any]:
        """Return ``CACHES`` with an alias of django-redis, as a site has it: "sessions"."""
        return {
            "sessions": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"redis://{SITE}:{PASSWORD}@{SERVICE}/0",
                "OPTIONS": {
                    "CLIENT_CLASS": "django_redis.client.SentinelClient",
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "SENTINELS": self.addresses,
                    **options,
                },
            }
        }

    def start(self) -> Self:
        """Start everything; replicas follow and every Sentinel knows them when this returns."""
        try:
            self.first.start()
            for replica in self._others:
                replica.primary = self.first
                replica.start()
            self._wait(
                lambda: all(_facts(one)["master_link_status"] == "up" for one in self._others)
            )
            self._sentinels = [
                _Sentinel(
                    self.binary, self.directory / f"sentinel-{number}", self.first, self._down_after
                )
                for number in range(SENTINELS)
            ]
            for sentinel in self._sentinels:
                sentinel.others = [other for other in self._sentinels if other is not sentinel]
                sentinel.start()
            self._wait(lambda: all(map(self._is_aware, self._sentinels)))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, the Sentinels first."""
        for server in (*self._sentinels, self.first, *self._others):
            server.kill()

    def wait_until_another_is_primary(self) -> None:
        """Return when a replica has become the primary."""
        self._wait(lambda: any(_facts(one)["role"] == "master" for one in self._others))

    def wait_until_first_follows(self) -> None:
        """Return when the old primary has become a replica of the new one."""
        self._wait(lambda: _facts(self.first)["master_link_status"] == "up")

    def wait_until_replicated(self) -> None:
        """Return when every replica has all that the primary has now."""
        written = _facts(self.first)["master_repl_offset"]
        self._wait(lambda: all(_facts(one)["slave_repl_offset"] >= written for one in self._others))

    @contextlib.contextmanager
    def cut_replication(self) -> Iterator[None]:
        """Part the replicas from the primary while the block lasts; nobody else notices."""
        with _administer(self.first) as client:
            client.execute_command("ACL", "SETUSER", INSIDER, "-psync", "-sync", "-replconf")
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
            yield
            # By the time the block ends the server may be dead, which is the point of it.
            with contextlib.suppress(redis.RedisError):
                client.execute_command("ACL", "SETUSER", INSIDER, "+@all")

    @contextlib.contextmanager
    def part_the_first(self) -> Iterator[None]:
        """Part the primary from its replica and the Sentinels, and not from the site."""
        with _administer(self.first) as client:
            client.execute_command("ACL", "SETUSER", INSIDER, "off")
            client.execute_command("CLIENT", "KILL", "USER", INSIDER)
            yield
            client.execute_command("ACL", "SETUSER", INSIDER, "on")
            # A Sentinel that was refused does not log in again over the same connection.
            client.execute_command("CLIENT", "KILL", "USER", "default")

    def _is_aware(self, sentinel: _Sentinel) -> bool:
        with redis.Redis(port=sentinel.port) as client:
            known: Mapping[str, Any] = client.sentinel_master(SERVICE)
        seen = known["flags"], known["num-other-sentinels"], known["num-slaves"]
        return bool(seen == ("master", SENTINELS - 1, len(self._others)))

    def _wait(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * START_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise ServerFailed("Redis and its Sentinels must agree in time (they did not).")
            time.sleep(POLL_SECONDS)


def _administer(member: RedisServer) -> redis.Redis:
    return redis.Redis(port=member.port, username=SITE, password=PASSWORD, protocol=2)


def _facts(member: RedisServer) -> Mapping[str, Any]:
    """Return what *member* says of replication; while it is down, that it has no part in it."""
    facts: dict[str, Any] = {"role": "", "master_link_status": "", "slave_repl_offset": 0}
    with contextlib.suppress(redis.RedisError), _administer(member) as client:
        facts |= client.info("replication")
    return facts
