"""The pictures of the demo in the README and the pages."""

from __future__ import annotations

import itertools
import struct

import pytest
from playwright.sync_api import Browser

from django_multisession.testing.rows import for_each
from tests.browser.screenshots import HEIGHT, SCHEMES, SIZES, WIDTH, picture_of, take, take_sessions
from tests.browser.shops import Shop, Shops

LARGEST = 150_000


def size_of(picture: bytes) -> tuple[int, int]:
    """Return width and height of a PNG."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


@for_each(("name", "scheme"), itertools.product(SIZES, SCHEMES))
def test_each_picture_is_there_and_small(name: str, scheme: str) -> None:
    picture = picture_of(scheme, name).read_bytes()

    assert size_of(picture) == SIZES[name]
    assert len(picture) < LARGEST


@pytest.mark.release
def test_the_pictures_of_sessions_can_be_taken_again(
    any_shop: Shop, shops: Shops, chromium: Browser
) -> None:
    shops.make_user("mary")
    pictures = take_sessions(chromium, any_shop, "light", "mary")
    assert {name: size_of(picture) for name, picture in pictures.items()} == {
        name: size for name, size in SIZES.items() if name != "demo"
    }


@pytest.mark.release
def test_the_readmes_picture_can_be_taken_again(any_shop: Shop, chromium: Browser) -> None:
    assert size_of(take(chromium, any_shop, "light")) == (WIDTH, HEIGHT)
