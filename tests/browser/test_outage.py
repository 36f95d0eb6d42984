"""An outage of the session's server, as a person sees it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import RedisServer

from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shops
from tests.conftest import Running

UNAVAILABLE = 503


@pytest.fixture
def own_redis(running_servers: Running, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that may be ended, and has its data again when it starts."""
    binary = running_servers.newest_redis().binary
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(binary, tmp_path / "redis", *options) as server:
        yield server


@pytest.fixture
def own_shops(own_redis: RedisServer, tmp_path: Path) -> Iterator[Shops]:
    """A site on that Redis."""
    with contextlib.ExitStack() as stack:
        yield Shops(tmp_path, stack, {"redis": lambda: own_redis.url})


@pytest.mark.long
def test_an_outage_shows_an_error_page_and_logs_nobody_out(
    own_redis: RedisServer, own_shops: Shops, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(own_shops.get("redis"))
    visitor.open()
    visitor.add("Notebook")
    visitor.log_in()
    key = visitor.key

    own_redis.kill()
    for path in ("read/", "async/read/", ""):
        response = visitor.open(path)
        assert response.status == UNAVAILABLE
        assert visitor.key == key
    heading = visitor.page.get_by_role("heading", level=1)
    assert heading.text_content() == "The session server does not answer"
    own_redis.start()

    assert visitor.forgive("503: ", "console: Failed to load resource") != []
    visitor.open()
    shown = visitor.shown()
    assert (shown.user, shown.cart, visitor.key) == ("demo", {"Notebook": 1}, key)


@pytest.mark.long
@pytest.mark.release
def test_who_has_no_session_sees_the_shop_during_an_outage(
    own_redis: RedisServer, own_shops: Shops, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(own_shops.get("redis"))
    own_redis.kill()

    visitor.open()

    assert visitor.shown().cart == {}
