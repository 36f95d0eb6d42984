"""Make the pictures of the demo in the README and the pages, from the root of the repository.

``PYTHONPATH=testproject python -m tests.browser.screenshots``
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from playwright.sync_api import Browser
from server_binaries import mongod_binary, redis_binary
from servers import MongoServer, RedisServer

from tests.browser.chromium import running_chromium
from tests.browser.shops import Shop, Shops
from tests.browser.visitor import Visitor

PICTURES = Path(__file__).parents[2] / "docs" / "images"
SCHEMES = ("light", "dark")
WIDTH, HEIGHT = 1280, 1140
#: The picture of the sessions of a user, and that of the admin's page.
SESSIONS, ADMIN = "sessions", "session-admin"
SIZES = {"demo": (WIDTH, HEIGHT), SESSIONS: (960, 680), ADMIN: (1280, 560)}
ADMIN_PAGE = "admin/django_multisession_session_admin/session/"
#: So that the countdowns are seen to count.
ELAPSED = "02:36"


CHROME, FIREFOX, SAFARI = (
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
        "Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
    ),
)


def picture_of(scheme: str, name: str = "demo") -> Path:
    """Return where the picture *name* in *scheme* is."""
    return PICTURES / f"{name}-{scheme}.png"


def take(chromium: Browser, shop: Shop, scheme: str) -> bytes:
    """Fill the cart, log in, and take the picture."""
    viewport = {"width": WIDTH, "height": HEIGHT}
    with Visitor(chromium, shop, color_scheme=scheme, viewport=viewport) as visitor:
        visitor.open()
        for product in ("Notebook", "Notebook", "Ink"):
            visitor.add(product)
        visitor.log_in()
        visitor.page.clock.install()
        visitor.open()
        visitor.page.clock.fast_forward(ELAPSED)
        return visitor.page.screenshot()


def take_sessions(chromium: Browser, shop: Shop, scheme: str, user: str) -> dict[str, bytes]:
    """Log *user* in with three browsers, take the pictures of their sessions, and end these."""
    with contextlib.ExitStack() as stack:
        for agent in (SAFARI, FIREFOX):
            other = stack.enter_context(Visitor(chromium, shop, user_agent=agent))
            other.open()
            other.log_in(name=user)
        visitor = stack.enter_context(
            Visitor(chromium, shop, color_scheme=scheme, user_agent=CHROME)
        )
        visitor.open()
        visitor.log_in(name=user)
        pictures = {}
        for name, path in {SESSIONS: "account/sessions/", ADMIN: ADMIN_PAGE}.items():
            width, height = SIZES[name]
            visitor.page.set_viewport_size({"width": width, "height": height})
            visitor.open(path)
            pictures[name] = visitor.page.screenshot()
        visitor.open("account/sessions/end-others/")
        visitor.page.get_by_role("button").click()
        visitor.open()
        visitor.press("Log out")
        return pictures


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
        redis = stack.enter_context(RedisServer(redis_binary(directory), directory / "redis"))
        mongod = stack.enter_context(MongoServer(mongod_binary(directory), directory / "mongodb"))
        addresses = {"redis": lambda: redis.url, "mongodb": lambda: mongod.url}
        shops = Shops(directory, stack, addresses)
        shop = shops.get("redis")
        shops.make_user("ada")
        chromium = stack.enter_context(running_chromium())
        for scheme in SCHEMES:
            pictures = take_sessions(chromium, shop, scheme, "ada")
            pictures["demo"] = take(chromium, shop, scheme)
            for name, picture in pictures.items():
                picture_of(scheme, name).write_bytes(picture)
                print(f"{picture_of(scheme, name)}: {len(picture)} bytes")  # noqa: T201  (a program)


if __name__ == "__main__":
    main()
