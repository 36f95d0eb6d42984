"""The pages of a user's sessions: two browsers side by side, and every way to use a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.appearance import poor_contrasts, what_is_cut_off
from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop, Shops
from tests.browser.test_appearance import SCREENS
from tests.browser.test_keyboard import Keyboard
from tests.browser.test_markup import MISTAKES, Balance
from tests.browser.visitor import Visitor, follow
from tests.selection import left_to_release

PATH = "account/sessions/"
LINK = "see and end your sessions"
END, END_OTHERS = "End session", "End all other sessions"
#: What a screen reader says of the button of one session.
END_ONE = re.compile(r"End session: .+, last used (just now|\d+ minutes? ago)")
SCHEMES = ("light", "dark")
SESSION_ENDED = "The session was ended."
#: German has the longest words of all.
LANGUAGES = ("de-DE", "en-US", "fr-FR", "pl-PL")

LogIn = Callable[..., Visitor]


@pytest.fixture(scope="session")
def ada(shops: Shops) -> str:
    """A user of whom the other tests of a shop have no session."""
    shops.get("redis")
    shops.make_user("ada")
    return "ada"


@pytest.fixture
def log_in(any_shop: Shop, ada: str, new_visitor: NewVisitor) -> LogIn:
    """Log her in with a browser of its own. At first no other one is logged in."""
    browsers: list[Visitor] = []

    def logged_in(**options: Any) -> Visitor:
        visitor = new_visitor(any_shop, **options)
        visitor.open()
        visitor.log_in(name=ada)
        if not browsers:
            visitor.open(f"{PATH}end-others/")
            if visitor.page.get_by_role("button").count():
                follow(visitor.page.get_by_role("button"))
            visitor.open()
        browsers.append(visitor)
        return visitor

    return logged_in


def is_logged_in(visitor: Visitor) -> bool:
    visitor.open()
    return visitor.shown().user is not None


def test_one_browser_ends_the_session_of_the_other(log_in: LogIn) -> None:
    mine, other = log_in(), log_in()

    mine.follow(LINK)
    expect(mine.page.get_by_role("listitem")).to_have_count(2)
    expect(mine.page.get_by_text("This device")).to_have_count(1)
    assert is_logged_in(other)
    follow(mine.page.get_by_role("button", name=END_ONE))

    expect(mine.page.get_by_role("status")).to_have_text(SESSION_ENDED)
    expect(mine.page.get_by_role("button")).to_have_count(0)
    assert not is_logged_in(other)
    assert is_logged_in(mine)


@pytest.mark.long
def test_one_browser_ends_all_others_after_a_question(log_in: LogIn) -> None:
    mine, *others = (log_in() for _ in range(3))
    mine.follow(LINK)

    mine.follow(END_OTHERS)
    expect(mine.page.get_by_text("2 other sessions end.")).to_be_visible()
    mine.follow("Cancel")
    assert all(map(is_logged_in, others))
    mine.follow(END_OTHERS)
    key = mine.key
    mine.press(END_OTHERS)

    expect(mine.page.get_by_role("status")).to_have_text("2 sessions were ended.")
    assert mine.key != key
    assert not any(map(is_logged_in, others))
    mine.follow("Back to the shop")
    assert is_logged_in(mine)


@pytest.mark.long
def test_a_session_that_was_ended_elsewhere_is_not_found(log_in: LogIn) -> None:
    mine, other = log_in(), log_in()
    mine.follow(LINK)
    assert is_logged_in(other)
    other.press("Log out")

    follow(mine.page.get_by_role("button", name=END_ONE))

    assert mine.forgive("404: ") != []
    mine.forgive("console: ")


@pytest.mark.long
@pytest.mark.parametrize(
    "has_scripts",
    left_to_release([True, False], {True}),
    ids=["scripts", "no scripts"],
)
def test_the_keyboard_alone_ends_one_session_and_the_others(
    log_in: LogIn, has_scripts: bool
) -> None:
    mine, *others = (log_in(java_script_enabled=has_scripts) for _ in range(4))
    mine.open(PATH)
    keyboard = Keyboard(mine)

    if has_scripts:
        # Each stop is looked at by a script.
        assert keyboard.tab() == "Back to the shop"
        assert END_ONE.fullmatch(keyboard.tab())
    else:
        mine.page.get_by_role("button", name=END_ONE).first.focus()
    with mine.page.expect_navigation():
        mine.page.keyboard.press("Enter")
    expect(mine.page.get_by_role("status")).to_have_text(SESSION_ENDED)

    if has_scripts:
        keyboard.go(END_OTHERS, "Enter")
        keyboard.go(END_OTHERS, "Space")
    else:
        mine.follow(END_OTHERS)
        mine.press(END_OTHERS)
    expect(mine.page.get_by_role("status")).to_have_text("2 sessions were ended.")
    assert not any(map(is_logged_in, others))


def pages_of(visitor: Visitor, log_in: LogIn) -> Iterator[str]:
    """Lead the visitor from page to page, and yield what each of them is."""
    for _ in range(2):
        log_in()
    visitor.open(PATH)
    yield "list"
    action = visitor.page.locator("form").first.get_attribute("action") or ""
    visitor.open(action.removeprefix("/"))
    yield "end one"
    follow(visitor.page.get_by_role("button"))
    yield "ended"
    visitor.open(f"{PATH}end-others/")
    yield "end others"
    follow(visitor.page.get_by_role("button"))
    visitor.open(f"{PATH}end-others/")
    yield "no others"


@pytest.mark.long
def test_every_text_stands_out_in_light_and_in_dark(log_in: LogIn) -> None:
    mine = log_in()
    found, backgrounds = [], set()
    for kind in pages_of(mine, log_in):
        for scheme in SCHEMES:
            mine.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of them
            found += [f"{kind}, {scheme}: {poor}" for poor in poor_contrasts(mine.page)]
            backgrounds.add(mine.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            for pressable in mine.page.locator("main").get_by_role("button").all():
                pressable.hover()
                found += [f"{kind}, {scheme}, hovered: {p}" for p in poor_contrasts(mine.page)]
    assert found == []
    assert len(backgrounds) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    "language",
    left_to_release(LANGUAGES, {"de-DE"}),
)
def test_nothing_is_cut_off_on_any_screen(log_in: LogIn, language: str) -> None:
    mine = log_in(locale=language)
    found = []
    for kind in pages_of(mine, log_in):
        for width, height in SCREENS:
            mine.page.set_viewport_size({"width": width, "height": height})
            found += [f"{kind}, {width}: {cut}" for cut in what_is_cut_off(mine.page)]
    assert found == []


@pytest.mark.long
def test_a_screen_reader_finds_its_way(log_in: LogIn) -> None:
    mine = log_in()
    for kind in pages_of(mine, log_in):
        page = mine.page
        balance = Balance()
        balance.feed(page.content())
        assert (balance.mistakes, balance.open) == ([], []), kind
        assert page.evaluate(MISTAKES) == [], kind
        assert page.get_by_role("main").count() == 1, kind
        assert page.get_by_role("heading", level=1).count() == 1, kind
        assert page.locator("html").get_attribute("lang") == "en", kind
        assert page.title() != "", kind
        if kind in {"list", "ended"}:
            # A heading for each session, to jump to, in a list that says how many there are.
            sessions = (
                page.get_by_role("main").get_by_role("listitem").filter(has=page.locator("h2"))
            )
            assert sessions.count() == (3 if kind == "list" else 2)


@pytest.mark.long
def test_the_pages_speak_german(log_in: LogIn) -> None:
    mine, other = log_in(locale="de-DE"), log_in()
    mine.open(PATH)
    page = mine.page
    expect(page.get_by_role("heading", name="Ihre Sitzungen")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "de"
    follow(page.get_by_role("button", name=re.compile("Sitzung beenden: .+, zuletzt")))
    expect(page.get_by_role("status")).to_have_text("Die Sitzung wurde beendet.")
    assert not is_logged_in(other)


def test_a_visitor_is_led_to_the_page_of_the_login(any_shop: Shop, new_visitor: NewVisitor) -> None:
    visitor = new_visitor(any_shop)
    visitor.open(PATH)
    expect(visitor.page.get_by_role("button", name="Log in as demo")).to_be_visible()
