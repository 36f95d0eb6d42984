"""Make the README's pictures of the demo, from the root of the repository.

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
#: So that the countdowns are seen to count.
ELAPSED = "02:36"


def picture_of(scheme: str) -> Path:
    """Return where the picture in *scheme* is."""
    return PICTURES / f"demo-{scheme}.png"


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


def main() -> None:
    """Write both pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
        redis = stack.enter_context(RedisServer(redis_binary(directory), directory / "redis"))
        mongod = stack.enter_context(MongoServer(mongod_binary(directory), directory / "mongodb"))
        addresses = {"redis": lambda: redis.url, "mongodb": lambda: mongod.url}
        shop = Shops(directory, stack, addresses).get("redis")
        chromium = stack.enter_context(running_chromium())
        for scheme in SCHEMES:
            picture_of(scheme).write_bytes(take(chromium, shop, scheme))
            print(f"{picture_of(scheme)}: {picture_of(scheme).stat().st_size} bytes")  # noqa: T201  (a program)


if __name__ == "__main__":
    main()
