"""The README's pictures of the demo."""

from __future__ import annotations

import struct

import pytest
from playwright.sync_api import Browser

from tests.browser.screenshots import HEIGHT, SCHEMES, WIDTH, picture_of, take
from tests.browser.shops import Shop

LARGEST = 150_000


def size_of(picture: bytes) -> tuple[int, int]:
    """Return width and height of a PNG."""
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_readmes_picture_is_there_and_small(scheme: str) -> None:
    picture = picture_of(scheme).read_bytes()

    assert size_of(picture) == (WIDTH, HEIGHT)
    assert len(picture) < LARGEST


def test_the_readmes_picture_can_be_taken_again(any_shop: Shop, chromium: Browser) -> None:
    assert size_of(take(chromium, any_shop, "light")) == (WIDTH, HEIGHT)
