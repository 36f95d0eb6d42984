"""What this site is told from outside, and what its settings and its pages both need to know."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

ENGINES = {
    "redis": "Redis",
    "mongodb": "MongoDB",
    "memcached": "memcached",
    "database": "database",
    "tiered": "Redis before MongoDB",
    "memory": "memory",
    "cookie": "cookies",
}
#: What each kind of server is started for. Redis keeps which sessions in cookies were ended.
USERS_OF = {
    "redis": {"redis", "tiered", "cookie"},
    "mongodb": {"mongodb", "tiered"},
    "memcached": {"memcached"},
}

# Short, to be watched: the defaults are Django's two weeks, and thirty days.
IDLE_TIMEOUT = timedelta(minutes=10)
ABSOLUTE_TIMEOUT = timedelta(hours=1)

_PREFIX = "MULTISESSION_DEMO_"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One variable per field: ``MULTISESSION_DEMO_ENGINE`` and so on.

    Attributes:
        engine: One of `ENGINES`, or the module of any other session engine.
        redis_url: Where Redis listens.
        mongodb_uri: Where MongoDB listens.
        memcached_server: Where memcached listens.
        database: The file that holds the users, and the sessions of the engine for databases.
        sites: Every site that was started together, as ``engine=URL``, separated by spaces.
    """

    engine: str = "redis"
    redis_url: str = "redis://127.0.0.1:6379/0"
    mongodb_uri: str = "mongodb://127.0.0.1:27017/"
    memcached_server: str = "127.0.0.1:11211"
    database: str = str(Path(__file__).resolve().parent.parent / "demo.sqlite3")
    sites: str = ""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Read *variables*; what they leave out is what a server on this machine would have."""
        return cls(
            **{
                field.name: variables[_variable(field.name)]
                for field in dataclasses.fields(cls)
                if variables.get(_variable(field.name))
            }
        )

    def variables(self) -> dict[str, str]:
        """Return what a process is given for its `read` to return this."""
        return {_variable(name): value for name, value in dataclasses.asdict(self).items()}

    @property
    def engine_module(self) -> str:
        """Return what ``SESSION_ENGINE`` is."""
        if self.engine in ENGINES:
            return f"django_multisession.engines.{self.engine}"
        return self.engine

    @property
    def engine_title(self) -> str:
        """Return what a person calls the engine."""
        return ENGINES.get(self.engine, self.engine)

    @property
    def sites_by_engine(self) -> dict[str, str]:
        """Map the engine of each site that was started together to its URL."""
        return dict(site.split("=", 1) for site in self.sites.split())


def is_given(name: str) -> bool:
    """Tell whether the environment has the field *name*."""
    return bool(os.environ.get(_variable(name)))


def _variable(name: str) -> str:
    return _PREFIX + name.upper()
