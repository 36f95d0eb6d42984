"""The pages' HTML: what a screen reader and a strict parser need of it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from playwright.sync_api import expect

from django_multisession.testing.rows import for_each
from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop
from tests.browser.visitor import Visitor

VOID = {"img", "input", "link", "meta", "br", "hr"}
PATHS = ("", "read/", "async/")

LANDMARKS = ("banner", "navigation", "main", "contentinfo")

MISTAKES = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const found = [];
    const ids = all("[id]").map((element) => element.id);
    for (const id of ids)
        if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`id ${id} is there twice`);
    for (const name of ["aria-labelledby", "aria-describedby", "for", "form"])
        for (const element of all(`[${name}]`))
            for (const id of element.getAttribute(name).split(" "))
                if (!document.getElementById(id)) found.push(`${name} names no element: ${id}`);
    for (const link of all("a[href^='#']"))
        if (!document.getElementById(link.hash.slice(1))) found.push(`${link.hash} leads nowhere`);
    for (const field of all("input:not([type=hidden])"))
        if (!field.labels.length) found.push(`${field.name} has no label`);
    for (const image of all("img:not([alt])")) found.push(`${image.src} has no alt`);
    for (const element of all("a, button"))
        if (!(element.textContent.trim() || element.ariaLabel)) found.push("something has no name");
    let level = 0;
    for (const heading of all("h1, h2, h3, h4, h5, h6")) {
        const next = Number(heading.tagName[1]);
        if (next > level + 1) found.push(`h${level} is followed by h${next}`);
        level = next;
    }
    // What a Content-Security-Policy without 'unsafe-inline' would refuse.
    if (all("[style], style, script:not([src])").length) found.push("something is inline");
    for (const element of all("*"))
        for (const { name } of element.attributes)
            if (name.startsWith("on")) found.push(`${name} is inline`);
    return found;
}"""


class Balance(HTMLParser):
    """Finds what is closed and not open, and what is open and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.mistakes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.mistakes.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(f"</{tag}> at {self.getpos()} closes something else")


@pytest.fixture
def visitor(any_shop: Shop, key_of_a_user: str, new_visitor: NewVisitor) -> Visitor:
    """Somebody with everything on the page that can be there."""
    visitor = new_visitor(any_shop)
    visitor.key = key_of_a_user
    visitor.open()
    return visitor


@pytest.mark.long
@for_each("path", PATHS)
def test_every_element_is_closed_where_it_was_opened(visitor: Visitor, path: str) -> None:
    balance = Balance()

    balance.feed(visitor.open(path).text())

    assert (balance.mistakes, balance.open) == ([], [])


@pytest.mark.long
@for_each("path", PATHS)
def test_everything_has_a_name_and_every_reference_an_aim(visitor: Visitor, path: str) -> None:
    visitor.open(path)

    assert visitor.page.evaluate(MISTAKES) == []


@pytest.mark.long
def test_a_refused_log_in_is_tied_to_its_field(any_shop: Shop, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(any_shop)
    visitor.open()
    visitor.page.get_by_label("Password").fill("no")
    visitor.log_in()

    assert visitor.page.evaluate(MISTAKES) == []
    alert = visitor.page.get_by_role("alert").text_content() or ""
    field = visitor.page.get_by_label("Password")
    expect(field).to_have_accessible_description(" ".join(alert.split()))
    expect(field).to_have_attribute("aria-invalid", "true")


@pytest.mark.long
@for_each("path", PATHS)
def test_a_page_has_its_landmarks_a_language_a_title_and_one_heading(
    visitor: Visitor, path: str
) -> None:
    visitor.open(path)
    page = visitor.page

    assert [page.get_by_role(role).count() for role in LANDMARKS] == [1, 1, 1, 1]  # type: ignore[arg-type]  # ARIA's words
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title().endswith(f" · {visitor.shop.title}")
    for region in page.get_by_role("region").all():
        assert region.get_attribute("aria-labelledby")
    names = page.get_by_role("region").evaluate_all(
        "regions => regions.map((region) => region.getAttribute('aria-labelledby'))"
    )
    assert len(names) == len(set(names)) > 1


@pytest.mark.long
@pytest.mark.parametrize("width", [320, 1280])
def test_the_table_of_entries_is_one_on_every_screen(visitor: Visitor, width: int) -> None:
    visitor.page.set_viewport_size({"width": width, "height": 720})
    tree = visitor.context.new_cdp_session(visitor.page).send("Accessibility.getFullAXTree")

    roles = [node["role"]["value"] for node in tree["nodes"] if not node["ignored"]]

    entries = visitor.page.locator("tbody tr").count()
    assert entries > 3
    assert roles.count("table") == 1
    assert roles.count("rowheader") == roles.count("cell") == entries
