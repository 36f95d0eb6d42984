"""A site whose session server is behind a TCP proxy, under Django's session middleware and under ours."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from servers import Server

from django_multisession.engine import close_drivers
from tests.engine_fixtures import (
    ONE_OF_EACH_KIND,
    Engine,
    add_options,
    use_engine,
)
from tests.proxy import TCPProxy
from tests.web.conftest import DJANGOS, OURS
from tests.wire.outages import OwnServers
from tests.wire.visitor import Visitor

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

#: How many connections of a client only watch the server.
WATCHING = {"mongodb": 2}
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"

under_ours = pytest.mark.parametrize("session_middleware", [OURS], ids=["ours"])
under_djangos = pytest.mark.parametrize("session_middleware", [DJANGOS], ids=["djangos"])
#: For tests that make no request.
under_none = pytest.mark.parametrize("session_middleware", [DJANGOS], ids=["no_site"])


#: One server of each kind whose protocol the proxy speaks.
ON_THE_WIRE = [name for name in ONE_OF_EACH_KIND if not name.startswith(("memory", "database"))]
on_each_kind = pytest.mark.parametrize("engine_name", ON_THE_WIRE)


@pytest.fixture(params=[DJANGOS, OURS], ids=["djangos", "ours"])
def session_middleware(request: pytest.FixtureRequest) -> str:
    """Django's middleware and ours: whatever the engines promise holds under both."""
    path: str = request.param
    return path


@pytest.fixture(autouse=True)
def site(settings: Settings, session_middleware: str) -> None:
    settings.ROOT_URLCONF = "tests.wire.urls"
    settings.MIDDLEWARE = [session_middleware, AUTHENTICATION]


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada")


@pytest.fixture(params=["sync", "async"])
def visitor(request: pytest.FixtureRequest) -> Visitor:
    return Visitor(is_async=request.param == "async")


@pytest.fixture(params=["redis-8.2", "mongodb-standalone"])
def engine_name(request: pytest.FixtureRequest) -> str:
    """A server for each native client; a test that wants more of them parametrizes it directly."""
    name: str = request.param
    return name


@pytest.fixture
def proxy(engine_name: str, running_servers: Running) -> Iterator[TCPProxy]:
    server: Server | None
    if engine_name.startswith("redis"):
        server = running_servers.redis(engine_name)
    elif engine_name == "memcached":
        server = running_servers.memcached()
    elif engine_name == "mongodb-replica-set":
        server = running_servers.replica_set().primary
    else:
        server = running_servers.mongodb()
    assert server is not None, "a replica set has a primary once it runs"
    with TCPProxy(server.host, server.port) as proxy:
        yield proxy


@pytest.fixture
def engine(
    engine_name: str, proxy: TCPProxy, settings: Settings, running_servers: Running
) -> Iterator[Engine]:
    """The engine of that name, as the site's; it reaches its server through the proxy."""
    yield use_engine(engine_name, settings, running_servers, url=url(engine_name, proxy))
    close_drivers()


@pytest.fixture(scope="session")
def own_servers(running_servers: Running) -> Iterator[OwnServers]:
    with (
        tempfile.TemporaryDirectory(prefix="multisession-wire-") as directory,
        contextlib.ExitStack() as stack,
    ):
        yield OwnServers(running_servers, Path(directory), stack)


def url(engine_name: str, place: TCPProxy | Server) -> str:
    """Return the URL of a server of that kind at *place*."""
    address = f"{place.host}:{place.port}"
    if engine_name.startswith("redis"):
        return f"redis://{address}/0"
    if engine_name == "memcached":
        return address
    # Told who the other members are, a client would go to them, past the proxy.
    return f"mongodb://{address}/?directConnection=true"


def shorten_waits(engine: Engine, settings: Settings) -> None:
    """Let a request learn soon that nobody is there, and that somebody is; of Redis it learns at once."""
    if engine.kind == "mongodb":
        patience = {
            "serverSelectionTimeoutMS": 1000,
            "timeoutMS": 1000,
            "heartbeatFrequencyMS": 500,
        }
        add_options("mongodb", settings, patience)
