"""The walk of ``manage.py demo --check``, as a person takes it: the same steps, by clicking."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect
from shop.walk import FORGED_KEYS

from tests.browser.shops import Shop
from tests.browser.visitor import ADMIN_LINK, Shown, Visitor

PAGES = ("", "read/", "async/", "async/read/")
CART = {"Notebook": 2, "Ink": 1}
SESSION_ENDED = 400


class ClickedWalk:
    """One visitor's way through one site.

    Args:
        shop: The site.
        new_visitor: Makes somebody with an empty cookie jar.
    """

    def __init__(self, shop: Shop, new_visitor: Callable[[Shop], Visitor]) -> None:
        self.shop = shop
        self.visitor = new_visitor(shop)
        self._other = new_visitor(shop)
        # The visitor's session key before the first log-in.
        self.key_before_login: str | None = None

    def newcomer(self, key: str | None = None) -> Visitor:
        """Return somebody with nothing but the session cookie *key*, and no page open."""
        self._other.context.clear_cookies()
        if key is not None:
            self._other.key = key
        return self._other

    def expect_page(self, *, user: str | None, cart: dict[str, int]) -> Shown:
        """Expect the visitor's page to show *user* and *cart*."""
        shown = self.visitor.shown()
        assert (shown.user, shown.cart) == (user, cart)
        return shown

    def expect_nothing_behind(self, key: str | None) -> None:
        """Expect whoever has *key* to see no session, with sync and async views."""
        assert key is not None
        thief = self.newcomer(key)
        for path in PAGES[::2]:
            thief.open(path)
            shown = thief.shown()
            assert (shown.user, shown.cart) == (None, {})


Step = Callable[[ClickedWalk], None]
STEPS: dict[str, Step] = {}


def step(title: str) -> Callable[[Step], Step]:
    """Make the function the step of that title."""

    def register(check: Step) -> Step:
        STEPS[title] = check
        return check

    return register


@step("looking around anonymously sets no session cookie")
def _look(walk: ClickedWalk) -> None:
    for path in PAGES:
        walk.visitor.open(path)
        assert walk.visitor.key is None
    walk.visitor.open()
    assert walk.expect_page(user=None, cart={}).key is None


@step("the first thing in the cart sets the cookie: HttpOnly, SameSite=Lax")
def _add(walk: ClickedWalk) -> None:
    walk.visitor.add("Notebook")
    attributes = walk.visitor.cookie_attributes()
    assert (attributes["httpOnly"], attributes["sameSite"]) == (True, "Lax")
    walk.expect_page(user=None, cart={"Notebook": 1})


@step("a change inside the cart is saved, without session.modified")
def _nest(walk: ClickedWalk) -> None:
    walk.visitor.add("Notebook")
    walk.expect_page(user=None, cart={"Notebook": 2})
    walk.visitor.add("Pencil")
    walk.visitor.press("Remove one Notebook")
    walk.expect_page(user=None, cart={"Notebook": 1, "Pencil": 1})


@step("pages that only read keep the session and its key, and never show the whole key")
def _read(walk: ClickedWalk) -> None:
    key = walk.visitor.key
    assert key is not None
    walk.visitor.follow("A page that only reads")
    for path in PAGES:
        walk.visitor.open(path)
        assert key not in walk.visitor.page.content()
        assert walk.visitor.shown().key == f"{key[:6]}…"
    assert walk.visitor.key == key
    walk.visitor.open("read/")
    walk.visitor.follow("Back to the shop")
    walk.expect_page(user=None, cart={"Notebook": 1, "Pencil": 1})


@step("both deadlines are ahead")
def _deadlines(walk: ClickedWalk) -> None:
    clocks = walk.visitor.page.get_by_role("timer")
    minutes = [int(text.partition(":")[0]) for text in clocks.all_text_contents()]
    assert len(minutes) == 2
    assert 0 < minutes[0] <= 10 < minutes[1] <= 60


@step("async views see and change the same session")
def _async(walk: ClickedWalk) -> None:
    walk.visitor.follow("Open this page with async views")
    expect(walk.visitor.page.get_by_role("contentinfo")).to_contain_text("by async views")
    walk.expect_page(user=None, cart={"Notebook": 1, "Pencil": 1})
    walk.visitor.add("Notebook")
    walk.visitor.add("Ink")
    walk.visitor.press("Remove one Pencil")
    walk.expect_page(user=None, cart=CART)
    walk.visitor.follow("Open this page with sync views")
    expect(walk.visitor.page.get_by_role("contentinfo")).to_contain_text("by sync views")
    walk.expect_page(user=None, cart=CART)


@step("a wrong password logs nobody in")
def _wrong_password(walk: ClickedWalk) -> None:
    key = walk.visitor.key
    for path in ("async/", ""):
        walk.visitor.open(path)
        walk.visitor.page.get_by_label("Password").fill("no")
        walk.visitor.log_in()
        expect(walk.visitor.page.get_by_role("alert")).to_be_visible()
        expect(walk.visitor.page.get_by_label("Password")).to_be_focused()
        walk.expect_page(user=None, cart=CART)
    assert walk.visitor.key == key


@step("logging in gives a new key and keeps the cart")
def _log_in(walk: ClickedWalk) -> None:
    before = walk.key_before_login = walk.visitor.key
    walk.visitor.log_in()
    now = walk.visitor.key
    assert before is not None
    assert now not in {None, before}
    walk.expect_page(user="demo", cart=CART)
    told = walk.visitor.page.locator(".keys code").all_text_contents()
    assert told == [f"{before[:6]}…", f"{(now or '')[:6]}…"]


@step("the old key opens nothing")
def _replay(walk: ClickedWalk) -> None:
    walk.expect_nothing_behind(walk.key_before_login)


@step("a late request with the old key leaves the new cookie alone")
def _late(walk: ClickedWalk) -> None:
    # It is in the jar that whoever comes late has: nothing sets it, nothing removes it.
    assert walk.key_before_login is not None
    late = walk.newcomer(walk.key_before_login)
    for path in PAGES:
        late.open(path)
        assert late.key == walk.key_before_login


@step("a late change with the old key is refused, and leaves the new cookie alone")
def _late_change(walk: ClickedWalk) -> None:
    assert walk.key_before_login is not None
    late = walk.newcomer(walk.key_before_login)
    for path in ("", "async/"):
        late.open(path)
        late.add("Pencil")
        assert late.forgive(f"{SESSION_ENDED}: /{path}cart/add/pencil/") != []
        late.forgive("console: ")
        assert late.key == walk.key_before_login
    walk.visitor.open()
    walk.expect_page(user="demo", cart=CART)


@step("logging in again gives another new key, sync and async")
def _log_in_again(walk: ClickedWalk) -> None:
    for path in ("", "async/"):
        walk.visitor.open(path)
        key = walk.visitor.key
        walk.visitor.press("Log in again")
        assert walk.visitor.key not in {None, key}
        walk.expect_page(user="demo", cart=CART)
        walk.expect_nothing_behind(key)


@step("Django's admin knows who is logged in")
def _admin(walk: ClickedWalk) -> None:
    walk.visitor.follow(ADMIN_LINK)
    expect(walk.visitor.page.get_by_role("heading", name="Site administration")).to_be_visible()
    newcomer = walk.newcomer()
    newcomer.open()
    newcomer.follow(ADMIN_LINK)
    expect(newcomer.page.get_by_role("button", name="Log in")).to_be_visible()


@step("a made-up cookie gets an empty session and is removed")
def _forge(walk: ClickedWalk) -> None:
    forger = walk.newcomer()
    for key in FORGED_KEYS.values():
        for path in ("", "async/"):
            forger.key = key
            forger.open(path)
            assert forger.shown() == Shown(user=None, cart={}, key=None)
            assert forger.key is None


@step("two browsers have two sessions")
def _separate(walk: ClickedWalk) -> None:
    other = walk.newcomer()
    other.open()
    other.add("Pencil")
    assert other.shown().cart == {"Pencil": 1}
    walk.visitor.open()
    walk.expect_page(user="demo", cart=CART)


@step("emptying the cart keeps the rest")
def _empty(walk: ClickedWalk) -> None:
    walk.visitor.press("Empty the cart")
    walk.expect_page(user="demo", cart={})


@step("logging out ends the session and removes the cookie, sync and async")
def _log_out(walk: ClickedWalk) -> None:
    for path, log_in in (("", "Log in again"), ("async/", "Log in as demo")):
        walk.visitor.open(path)
        walk.visitor.press(log_in)
        key = walk.visitor.key
        walk.visitor.press("Log out")
        assert walk.visitor.key is None
        assert walk.expect_page(user=None, cart={}).key is None
        walk.expect_nothing_behind(key)
