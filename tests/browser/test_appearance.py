"""Light and dark, narrow and wide: every page can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from tests.browser.appearance import poor_contrasts, what_is_cut_off
from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop
from tests.browser.visitor import Visitor
from tests.selection import left_to_release

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
#: A page that is zoomed to 400 % on a screen of 1280 pixels is 320 wide (WCAG 2.2, 1.4.10).
SCREENS = ((320, 640), (320, 256), (640, 400), (1280, 720), (1920, 1080))
LARGE_TEXT = "html { font-size: 200% }"
# What WCAG 2.2, 1.4.12 wants a page to bear.
SPACED_TEXT = """* {
    line-height: 1.5 !important;
    letter-spacing: .12em !important;
    word-spacing: .16em !important;
}
p { margin-bottom: 2em !important }"""


def pages_of_a_visit(visitor: Visitor) -> Iterator[str]:
    """Lead the visitor from page to page, and yield what each of them is."""
    visitor.open()
    yield "nothing yet"
    visitor.add("Notebook")
    visitor.add("Ink")
    stale = visitor.open_tab()
    visitor.page.get_by_label("Password").fill("no")
    visitor.log_in()
    yield "a refused log-in"
    visitor.page.get_by_label("Password").fill("demo")
    visitor.log_in()
    yield "logged in"
    visitor.open("async/read/")
    yield "reading"
    visitor.page.clock.install()
    visitor.open()
    visitor.page.clock.fast_forward("09:30")
    yield "less than a minute left"
    visitor.page.clock.fast_forward("01:00")
    yield "ended"
    visitor.page.close()
    visitor.page = stale
    visitor.add("Pencil")
    visitor.forgive("403: ", "console: Failed to load resource")
    yield "a form that is out of date"


@pytest.mark.long
def test_every_text_stands_out_from_its_background_in_light_and_in_dark(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    found = []

    for kind in pages_of_a_visit(visitor):
        for scheme in SCHEMES:
            visitor.page.emulate_media(color_scheme=scheme)
            found += [f"{kind}, {scheme}: {poor}" for poor in poor_contrasts(visitor.page)]

    assert found == []


@pytest.mark.long
@pytest.mark.parametrize("scheme", left_to_release(SCHEMES, {"dark"}))
def test_a_button_under_the_pointer_can_be_read(
    any_shop: Shop, scheme: str, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop, color_scheme=scheme)
    visitor.open()
    visitor.add("Notebook")
    plain = set()

    for pressable in visitor.page.locator("button, a:not(.skip)").all():
        pressable.hover()
        assert poor_contrasts(visitor.page) == []
        plain.add(pressable.get_attribute("class"))

    assert plain == {None, "plain"}


@pytest.mark.long
def test_light_and_dark_are_two_looks(any_shop: Shop, new_visitor: NewVisitor) -> None:
    looks = set()
    for scheme in SCHEMES:
        visitor = new_visitor(any_shop, color_scheme=scheme)
        visitor.open()
        looks.add(visitor.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(looks) == 2


@pytest.mark.long
def test_nothing_is_cut_off_and_no_page_scrolls_sideways_on_any_screen(
    any_shop: Shop, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop)
    found = []

    for kind in pages_of_a_visit(visitor):
        for width, height in SCREENS:
            visitor.page.set_viewport_size({"width": width, "height": height})
            found += [f"{kind}, {width}: {cut}" for cut in what_is_cut_off(visitor.page)]

    assert found == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("style", "width"),
    [
        (LARGE_TEXT, 640),
        pytest.param(LARGE_TEXT, 1280, marks=pytest.mark.release),
        (SPACED_TEXT, 320),
        pytest.param(SPACED_TEXT, 1280, marks=pytest.mark.release),
    ],
    ids=["large-640", "large-1280", "spaced-320", "spaced-1280"],
)
def test_nothing_is_cut_off_of_a_text_that_is_larger_or_spaced(
    any_shop: Shop, key_of_a_user: str, style: str, width: int, new_visitor: NewVisitor
) -> None:
    visitor = new_visitor(any_shop, viewport={"width": width, "height": 720})
    for key in (None, key_of_a_user):
        visitor.key = key
        visitor.open()
        visitor.add("Notebook")

        visitor.page.add_style_tag(content=style)

        assert what_is_cut_off(visitor.page) == []


@pytest.mark.long
def test_nothing_moves_for_whom_motion_is_too_much(any_shop: Shop, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(any_shop, reduced_motion="reduce")
    visitor.open()
    visitor.add("Notebook")

    moving = visitor.page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
            const style = getComputedStyle(element);
            return style.transitionDuration.split(", ").some((time) => time !== "0s")
                || style.animationName !== "none" || style.scrollBehavior === "smooth";
        }).map((element) => element.tagName)"""
    )

    assert moving == []
    assert visitor.page.evaluate("document.getAnimations().length") == 0
