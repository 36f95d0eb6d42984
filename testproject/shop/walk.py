"""The walk of ``manage.py demo --check``: what a person would click, and what must come of it.

Each step is one law. A step that fails says what was expected and what was found, without a
session key or a cookie in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from shop.browser import Browser, Reply
from shop.environment import ABSOLUTE_TIMEOUT, IDLE_TIMEOUT

CREDENTIALS = {"username": "demo", "password": "demo"}
SESSION_KEY_LENGTH = 40
PAGES = ("/", "/read/", "/state.json", "/async/", "/async/read/", "/async/state.json")
FORGED_KEYS = {
    "of another site": "k3Qn0bXy-7uPzWfRt2aVLmEo9sDcHjGi5Nw_1BxK",
    "of the right length": "A" * SESSION_KEY_LENGTH,
    "that is short": "A" * 12,
    "that is long": "A" * 3000,
    "that is no key": '"%00<script>"',
}

OK, REDIRECT, BAD_REQUEST = 200, 302, 400


class StepFailed(Exception):  # noqa: N818  (a finding, not an error of the walk)
    """A law that the site does not keep.

    Args:
        expected: What the step asks for.
        found: What came instead.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}; found {found}")
        self.expected = expected
        self.found = found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One law, and how it is seen to hold."""

    title: str
    check: Callable[[Walk], None]


STEPS: list[Step] = []


def step(title: str) -> Callable[[Callable[[Walk], None]], Callable[[Walk], None]]:
    """Make the function the next step of the walk."""

    def register(check: Callable[[Walk], None]) -> Callable[[Walk], None]:
        STEPS.append(Step(title=title, check=check))
        return check

    return register


class Walk:
    """One visitor's way through one site.

    Args:
        port: Where the site is served.
        engine: What its cookie is named after.
    """

    def __init__(self, port: int, engine: str) -> None:
        self.port = port
        name = engine.rpartition(".")[2]
        self.cookie = f"sessionid_{name}"
        # Such a key is another one after each use.
        self.is_carried = name == "cookie"
        self.visitor = Browser(port)
        # The visitor as they were before the first log-in.
        self.before_login = Browser(port)

    @property
    def key(self) -> str | None:
        """Return the visitor's session key."""
        return self.visitor.cookies.get(self.cookie)

    def browser_with(self, key: str | None) -> Browser:
        """Return a browser that has nothing but the session cookie *key*."""
        return Browser(self.port, {self.cookie: key} if key else {})

    def press(self, browser: Browser, path: str, **fields: str) -> Reply:
        """Send a form and expect the redirect that follows a success."""
        reply = browser.post(path, **fields)
        _expect_status(reply, REDIRECT, f"POST {path}")
        return reply

    def expect_state(
        self, browser: Browser, *, user: str | None, cart: dict[str, int], path: str = "/state.json"
    ) -> Reply:
        """Look at *browser*'s session and expect *user* and *cart* in it."""
        reply = browser.get(path)
        _expect_status(reply, OK, f"GET {path}")
        _expect(f"user {user}", f"user {reply.state['user']}")
        _expect(f"cart {cart}", f"cart {reply.state['cart']}")
        return reply

    def expect_new_key(self, before: str | None, occasion: str) -> None:
        """Expect the visitor to have another key than *before*."""
        if self.key is None or self.key == before:
            raise StepFailed(
                f"a new session key {occasion}", "the same one" if self.key else "no session cookie"
            )

    def expect_same_key(self, before: str | None, occasion: str) -> None:
        """Expect the visitor to have the key *before* still, unless the key holds the session."""
        if self.key != before and not self.is_carried:
            raise StepFailed(f"the same session key {occasion}", "another one")

    def expect_cookie_untouched(self, reply: Reply, occasion: str) -> None:
        """Expect *reply* neither to set nor to remove the session cookie."""
        if self.cookie in reply.cookies:
            verb = "removed" if reply.removes(self.cookie) else "set"
            raise StepFailed(f"the session cookie left alone {occasion}", f"it was {verb}")

    def expect_cookie_removed(self, reply: Reply, occasion: str) -> None:
        """Expect *reply* to remove the session cookie."""
        if not reply.removes(self.cookie):
            found = "it was set" if self.cookie in reply.cookies else "it was left alone"
            raise StepFailed(f"the session cookie removed {occasion}", found)


@step("looking around anonymously sets no session cookie")
def _look(walk: Walk) -> None:
    for path in PAGES:
        reply = walk.visitor.get(path)
        _expect_status(reply, OK, f"GET {path}")
        walk.expect_cookie_untouched(reply, f"at GET {path}")


@step("the first thing in the cart sets the cookie: HttpOnly, SameSite=Lax")
def _add(walk: Walk) -> None:
    reply = walk.press(walk.visitor, "/cart/add/notebook/")
    if walk.key is None:
        raise StepFailed("a session cookie", "none")
    morsel = reply.cookies[walk.cookie]
    _expect("HttpOnly", "HttpOnly" if morsel["httponly"] else "no HttpOnly")
    _expect("SameSite=Lax", f"SameSite={morsel['samesite'] or '(none)'}")
    walk.expect_state(walk.visitor, user=None, cart={"notebook": 1})


@step("a change inside the cart is saved, without session.modified")
def _nest(walk: Walk) -> None:
    walk.press(walk.visitor, "/cart/add/notebook/")
    walk.expect_state(walk.visitor, user=None, cart={"notebook": 2})
    walk.press(walk.visitor, "/cart/add/pencil/")
    walk.press(walk.visitor, "/cart/remove/notebook/")
    walk.expect_state(walk.visitor, user=None, cart={"notebook": 1, "pencil": 1})


@step("pages that only read keep the session and its key, and never show the whole key")
def _read(walk: Walk) -> None:
    key = walk.key
    for path in PAGES:
        reply = walk.visitor.get(path)
        _expect_status(reply, OK, f"GET {path}")
        if key is None or key in reply.body:
            raise StepFailed(f"GET {path} without the session key", "the key is in it")
        if key[:6] not in reply.body:
            raise StepFailed(f"GET {path} with the key's beginning", "it is missing")
    walk.expect_same_key(key, "after reading")
    walk.expect_state(walk.visitor, user=None, cart={"notebook": 1, "pencil": 1})


@step("both deadlines are ahead")
def _deadlines(walk: Walk) -> None:
    state = walk.visitor.get("/state.json").state
    for name, timeout in (("idle_seconds", IDLE_TIMEOUT), ("absolute_seconds", ABSOLUTE_TIMEOUT)):
        longest = int(timeout.total_seconds())
        if not 0 < (state[name] or 0) <= longest:
            raise StepFailed(f"{name} between 1 and {longest}", str(state[name]))


@step("async views see and change the same session")
def _async(walk: Walk) -> None:
    walk.expect_state(
        walk.visitor, user=None, cart={"notebook": 1, "pencil": 1}, path="/async/state.json"
    )
    walk.press(walk.visitor, "/async/cart/add/notebook/")
    walk.press(walk.visitor, "/async/cart/add/ink/")
    walk.press(walk.visitor, "/async/cart/remove/pencil/")
    walk.expect_state(walk.visitor, user=None, cart={"notebook": 2, "ink": 1})


@step("a wrong password logs nobody in")
def _wrong_password(walk: Walk) -> None:
    key = walk.key
    for path in ("/log-in/", "/async/log-in/"):
        _expect_status(walk.visitor.post(path, username="demo", password="no"), OK, f"POST {path}")  # noqa: S106  (that is the step)
    walk.expect_state(walk.visitor, user=None, cart={"notebook": 2, "ink": 1})
    walk.expect_same_key(key, "after a wrong password")


@step("logging in gives a new key and keeps the cart")
def _log_in(walk: Walk) -> None:
    walk.before_login = walk.visitor.copy()
    walk.press(walk.visitor, "/log-in/", **CREDENTIALS)
    walk.expect_new_key(walk.before_login.cookies[walk.cookie], "at log-in")
    walk.expect_state(walk.visitor, user="demo", cart={"notebook": 2, "ink": 1})


@step("the old key opens nothing")
def _replay(walk: Walk) -> None:
    for path in ("/state.json", "/async/state.json"):
        walk.expect_state(walk.before_login.copy(), user=None, cart={}, path=path)


@step("a late request with the old key leaves the new cookie alone")
def _late(walk: Walk) -> None:
    for path in PAGES:
        reply = walk.before_login.copy().get(path)
        _expect_status(reply, OK, f"GET {path}")
        walk.expect_cookie_untouched(reply, f"at a late GET {path}")
        walk.visitor.receive(reply)
    walk.expect_state(walk.visitor, user="demo", cart={"notebook": 2, "ink": 1})


@step("a late change with the old key is refused, and leaves the new cookie alone")
def _late_change(walk: Walk) -> None:
    for path in ("/cart/add/pencil/", "/async/cart/add/pencil/"):
        reply = walk.before_login.copy().post(path)
        _expect_status(reply, BAD_REQUEST, f"a late POST {path}")
        walk.expect_cookie_untouched(reply, f"at a late POST {path}")
    walk.expect_state(walk.before_login.copy(), user=None, cart={})
    walk.expect_state(walk.visitor, user="demo", cart={"notebook": 2, "ink": 1})


@step("logging in again gives another new key, sync and async")
def _log_in_again(walk: Walk) -> None:
    for path in ("/log-in/", "/async/log-in/"):
        key = walk.key
        walk.press(walk.visitor, path, **CREDENTIALS)
        walk.expect_new_key(key, f"at POST {path}")
        walk.expect_state(walk.visitor, user="demo", cart={"notebook": 2, "ink": 1})
        walk.expect_state(walk.browser_with(key), user=None, cart={})


@step("Django's admin knows who is logged in")
def _admin(walk: Walk) -> None:
    _expect_status(walk.visitor.get("/admin/"), OK, "GET /admin/")
    _expect_status(Browser(walk.port).get("/admin/"), REDIRECT, "an anonymous GET /admin/")


@step("a made-up cookie gets an empty session and is removed")
def _forge(walk: Walk) -> None:
    for kind, key in FORGED_KEYS.items():
        for path in ("/state.json", "/async/state.json"):
            reply = walk.expect_state(walk.browser_with(key), user=None, cart={}, path=path)
            _expect("no session key", "no session key" if reply.state["key"] is None else "one")
            walk.expect_cookie_removed(reply, f"at GET {path} with a key {kind}")


@step("two browsers have two sessions")
def _separate(walk: Walk) -> None:
    other = Browser(walk.port)
    walk.press(other, "/cart/add/pencil/")
    walk.expect_state(other, user=None, cart={"pencil": 1})
    walk.expect_state(walk.visitor, user="demo", cart={"notebook": 2, "ink": 1})


@step("emptying the cart keeps the rest")
def _empty(walk: Walk) -> None:
    walk.press(walk.visitor, "/cart/empty/")
    walk.expect_state(walk.visitor, user="demo", cart={})


@step("logging out ends the session and removes the cookie, sync and async")
def _log_out(walk: Walk) -> None:
    for path in ("/log-out/", "/async/log-out/"):
        walk.press(walk.visitor, "/log-in/", **CREDENTIALS)
        thief = walk.visitor.copy()
        walk.expect_cookie_removed(walk.press(walk.visitor, path), f"at POST {path}")
        walk.expect_state(walk.visitor, user=None, cart={})
        for state in ("/state.json", "/async/state.json"):
            walk.expect_state(thief.copy(), user=None, cart={}, path=state)


def _expect(expected: str, found: str) -> None:
    if found != expected:
        raise StepFailed(expected, found)


def _expect_status(reply: Reply, expected: int, occasion: str) -> None:
    _expect(f"status {expected} at {occasion}", f"status {reply.status} at {occasion}")
