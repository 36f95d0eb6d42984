"""One chromium and one site per engine; a browser of their own for every visitor."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from server_binaries import MissingServer

from tests.browser.chromium import running_chromium
from tests.browser.shops import INTERFACES, Shop, Shops
from tests.browser.visitor import Visitor
from tests.conftest import Running, give_up

NewVisitor = Callable[..., Visitor]


# Playwright runs an event loop in this thread as long as it is there, which asyncio.run() in tests
# of other directories would refuse. So it is not of the whole session.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(running_chromium())
        except MissingServer as missing:
            give_up("chromium", missing)
        yield browser


@pytest.fixture(scope="session")
def shops(running_servers: Running) -> Iterator[Shops]:
    servers = {
        "redis": lambda: running_servers.newest_redis().url,
        "mongodb": lambda: running_servers.mongodb().url,
    }
    with (
        tempfile.TemporaryDirectory(prefix="multisession-") as directory,
        contextlib.ExitStack() as stack,
    ):
        yield Shops(Path(directory), stack, servers)


@pytest.fixture(
    params=["redis", pytest.param("mongodb", marks=pytest.mark.release)],
    ids=lambda engine: f"{engine}-{INTERFACES[engine]}",
)
def shop(request: pytest.FixtureRequest, shops: Shops) -> Shop:
    """The shop on every kind of server, over WSGI and ASGI."""
    return shops.get(request.param)


@pytest.fixture
def any_shop(shops: Shops) -> Shop:
    """One shop, for what does not depend on where its sessions are."""
    return shops.get("redis")


@pytest.fixture(scope="package")
def key_of_a_user(chromium: Browser, shops: Shops) -> str:
    """The session key of somebody who is logged in at `any_shop`, for tests that only look."""
    with Visitor(chromium, shops.get("redis")) as visitor:
        visitor.open()
        visitor.add("Notebook")
        visitor.log_in()
        assert visitor.key is not None
        return visitor.key


@pytest.fixture
def new_visitor(chromium: Browser) -> Iterator[NewVisitor]:
    """Make visitors; at the end none of them may have anything to complain about."""
    visitors: list[Visitor] = []
    with contextlib.ExitStack() as stack:

        def come(shop: Shop, **options: Any) -> Visitor:
            visitor = stack.enter_context(Visitor(chromium, shop, **options))
            visitors.append(visitor)
            return visitor

        yield come
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []
