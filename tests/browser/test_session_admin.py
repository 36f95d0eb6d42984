"""The admin's pages of sessions in a browser: clicked, by keyboard, on every screen, in German."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.appearance import TEXT_CONTRAST, TEXT_CONTRASTS
from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop, Shops
from tests.browser.visitor import Visitor, follow

LIST = "admin/django_multisession_session_admin/session/"
END_SELECTED = "End selected sessions"
#: The part that is this package's; the rest of a page is Django's.
MINE = "#content"
MISTAKES = """(root) => {
    const found = [];
    for (const field of document.querySelectorAll(`${root} input:not([type=hidden], [type=submit])`))
        if (!field.ariaLabel && !field.labels.length) found.push(`${field.name} has no label`);
    for (const cell of document.querySelectorAll(`${root} th`))
        if (!cell.scope || !cell.textContent.trim()) found.push(`a heading of nothing: ${cell.outerHTML}`);
    for (const pressable of document.querySelectorAll(`${root} :is(a, button)`))
        if (!(pressable.ariaLabel || pressable.textContent.trim())) found.push("something has no name");
    for (const inline of document.querySelectorAll(`${root} :is([style], script, [onclick])`))
        found.push(`inline: ${inline.outerHTML}`);
    const wide = document.scrollingElement.scrollWidth;
    if (wide > document.documentElement.clientWidth) found.push(`the page is ${wide} wide`);
    return found;
}"""


@pytest.fixture(scope="session")
def eve(shops: Shops) -> str:
    """A user of whom the other tests of a shop have no session."""
    shops.get("redis")
    shops.make_user("eve")
    return "eve"


@pytest.fixture
def others(any_shop: Shop, eve: str, new_visitor: NewVisitor) -> list[Visitor]:
    """Two browsers of hers."""
    visitors = [new_visitor(any_shop) for _ in range(2)]
    for each in visitors:
        each.open()
        each.log_in(name=eve)
    return visitors


def admins(any_shop: Shop, new_visitor: NewVisitor, key: str, **options: object) -> Page:
    """Return a page of the list of her sessions, in the browser of a superuser."""
    visitor = new_visitor(any_shop, **options)
    visitor.key = key
    visitor.open(f"{LIST}?user=eve")
    return visitor.page


def is_logged_in(visitor: Visitor) -> bool:
    visitor.open()
    return visitor.shown().user is not None


@pytest.mark.long
def test_sessions_are_ended_one_by_one_and_all_of_a_user(
    any_shop: Shop, others: list[Visitor], key_of_a_user: str, new_visitor: NewVisitor
) -> None:
    page = admins(any_shop, new_visitor, key_of_a_user)
    before = page.get_by_role("checkbox").count()
    assert before >= 2
    page.get_by_role("checkbox", name=re.compile("eve, .*last used")).first.check()
    page.get_by_role("button", name=END_SELECTED).click()
    page.get_by_role("button", name="Yes, end them").click()
    expect(page.get_by_text("1 session was ended.")).to_be_visible()
    assert [is_logged_in(each) for each in others].count(True) == 1

    page.goto(f"{any_shop.url}{LIST}?user=eve")
    page.get_by_role("link", name="End all sessions of eve").click()
    page.get_by_role("button", name="Yes, end them").click()
    expect(page.get_by_text("There is no such session.")).to_be_visible()
    assert not any(map(is_logged_in, others))


@pytest.mark.long
def test_the_keyboard_alone_ends_a_session(
    any_shop: Shop, others: list[Visitor], key_of_a_user: str, new_visitor: NewVisitor
) -> None:
    page = admins(any_shop, new_visitor, key_of_a_user)
    page.get_by_role("textbox", name="User name or id").focus()
    for name in (r"Search", r"All users", r"eve, .*last used"):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(document.activeElement.ariaLabel || document.activeElement.value "
            "|| document.activeElement.textContent)"
        )
        assert re.match(name, focused), focused
    page.keyboard.press("Space")
    page.get_by_role("button", name=END_SELECTED).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Yes, end them").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 session was ended.")).to_be_visible()
    assert [is_logged_in(each) for each in others].count(True) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("language", "title"),
    [
        pytest.param("en-US", "Select sessions to end", marks=pytest.mark.release),
        ("de-DE", "Zu beendende Sitzungen auswählen"),
    ],
    ids=["en", "de"],
)
def test_the_pages_can_be_read_on_every_screen_in_light_and_dark(
    any_shop: Shop,
    others: list[Visitor],
    key_of_a_user: str,
    new_visitor: NewVisitor,
    language: str,
    title: str,
) -> None:
    page = admins(any_shop, new_visitor, key_of_a_user, locale=language)
    # Users of other tests have names and devices of any length.
    page.goto(f"{any_shop.url}{LIST}?user=eve")
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    found = []
    for step in ("list", "question"):
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 720})
            found += [f"{step}, {width}: {each}" for each in page.evaluate(MISTAKES, MINE)]
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found += [f"{step}, {scheme}: {each}" for each in poor_contrasts(page)]
        if step == "list":
            follow(page.locator("#result_list a[aria-label]").first)
    assert found == []


def poor_contrasts(page: Page) -> list[str]:
    """Return the texts of this package's part that are hard to read."""
    # The admin's colors change slowly.
    page.evaluate("document.getAnimations().forEach((each) => each.finish())")
    texts = TEXT_CONTRASTS.replace("document.body", f"document.querySelector('{MINE}')")
    return [
        f"{ratio:.2f}:1 {text}" for text, ratio in page.evaluate(texts) if ratio < TEXT_CONTRAST
    ]


@pytest.mark.long
def test_the_page_of_a_user_leads_to_the_sessions(
    any_shop: Shop, others: list[Visitor], key_of_a_user: str, new_visitor: NewVisitor
) -> None:
    page = admins(any_shop, new_visitor, key_of_a_user, java_script_enabled=False)
    follow(page.get_by_role("row").get_by_role("link", name="eve", exact=True).first)
    follow(page.get_by_role("link", name="Sessions", exact=True).last)
    expect(page).to_have_url(re.compile(r"\?user_id=\d+$"))
    assert page.get_by_role("checkbox").count() >= 2
