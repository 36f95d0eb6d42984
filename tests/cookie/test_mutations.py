"""No changed, cut, joined or made-up cookie opens a session or raises anything.

``-m every_engine`` tries 100,000 of them.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.core import signing as djangos_signing

from django_multisession.core import cookie_keys, keys
from django_multisession.engines.cookie import SessionStore
from django_multisession.settings import conf
from tests.cookie.visits import Browser

if TYPE_CHECKING:
    from pytest_django import Settings

FEW, MANY = 2_000, 100_000
SEED = 20_261_129
ALPHABET = string.ascii_letters + string.digits + "-_"
ANYTHING = ALPHABET + "=+/. \r\n\0;,:%é€"

Mutate = Callable[[random.Random, str, str], str]


def cookies_of(settings: Settings) -> list[str]:
    """Return valid cookies: of several sizes, one of a key that isn't stored, one of a fallback."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    made: list[str] = []

    def make(entries: dict[str, Any]) -> None:
        session = SessionStore()
        session.update(entries)
        session.save()
        made.append(session.session_key or "")

    for size in (1, 50, 700, 2_400):
        make({"_auth_user_id": "1", "x": "x" * size})
    settings.SECRET_KEY = "another secret " * 4
    for size in (2, 51, 701, 2_401):
        make({"y": "y" * size})
    return made


def replaced(rng: random.Random, cookie: str, _other: str) -> str:
    at = rng.randrange(len(cookie))
    return cookie[:at] + rng.choice(ANYTHING) + cookie[at + 1 :]


def flipped(rng: random.Random, cookie: str, _other: str) -> str:
    raw = bytearray(base64.urlsafe_b64decode(cookie + "=="))
    for _ in range(rng.randint(1, 3)):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def cut(rng: random.Random, cookie: str, _other: str) -> str:
    first, last = sorted(rng.sample(range(len(cookie) + 1), 2))
    return cookie[first:last]


def lengthened(rng: random.Random, cookie: str, _other: str) -> str:
    at = rng.randrange(len(cookie) + 1)
    more = "".join(rng.choices(ANYTHING, k=rng.choice((1, 2, 4, 40, 4000))))
    return cookie[:at] + more + cookie[at:]


def removed(rng: random.Random, cookie: str, _other: str) -> str:
    at = rng.randrange(len(cookie))
    return cookie[:at] + cookie[at + rng.choice((1, 2, 3, 4)) :]


def spliced(rng: random.Random, cookie: str, other: str) -> str:
    # At the border of a field, or anywhere.
    at = rng.choice((1, 7, 8, 23, 24, 39, 40, rng.randrange(len(cookie))))
    return cookie[:at] + other[at:]


def swapped(rng: random.Random, cookie: str, _other: str) -> str:
    one, two = sorted(rng.sample(range(len(cookie)), 2))
    return cookie[:one] + cookie[two] + cookie[one + 1 : two] + cookie[one] + cookie[two + 1 :]


def joined(rng: random.Random, cookie: str, other: str) -> str:
    return rng.choice(("", "=", ";", ",", " ", "|")).join((cookie, other))


def made_up(rng: random.Random, cookie: str, _other: str) -> str:
    kind = rng.randrange(5)
    if kind == 0:
        return "".join(rng.choices(ALPHABET, k=rng.choice((0, 1, 32, 40, len(cookie), 4093, 5000))))
    if kind == 1:
        # A head that is right, and nothing behind it.
        return cookie[:7] + "".join(rng.choices(ALPHABET, k=rng.randrange(3000)))
    if kind == 2:
        return djangos_signing.dumps(
            {"_auth_user_id": rng.randrange(9)},
            compress=rng.random() < 0.5,
            salt="django.contrib.sessions.backends.signed_cookies",
        )
    if kind == 3:
        # What the engines with a server send.
        return keys.make(conf.config().signing_keys).session_key
    context = rng.choice((b"", cookie_keys.context("sessionid2", b""), b"1:sessionid0:"))
    return cookie_keys.encode("00" * 16, rng.randbytes(300), conf.config().cookie_keys, context)


MUTATIONS: tuple[Mutate, ...] = (
    replaced,
    flipped,
    cut,
    lengthened,
    removed,
    spliced,
    swapped,
    joined,
    made_up,
)


@pytest.mark.every_engine
def test_no_mutation_of_a_cookie_opens_or_raises(
    alone: None, settings: Settings, request: pytest.FixtureRequest
) -> None:
    count = MANY if "every_engine" in request.config.option.markexpr else FEW
    rng, valid = random.Random(SEED), cookies_of(settings)
    assert all(SessionStore(cookie).load() for cookie in valid)
    known = {*valid, ""}
    tried = 0
    while tried < count:
        cookie, other = rng.sample(valid, 2)
        value = MUTATIONS[tried % len(MUTATIONS)](rng, cookie, other)
        # A piece may be changed into itself.
        if value in known:
            continue
        tried += 1
        session = SessionStore(value)
        assert session.load() == {}, value
        assert session.session_key is None, value
        assert not session.exists(value), value


def test_a_browser_with_a_mutated_cookie_gets_an_empty_session_and_no_cookie(
    alone: None, settings: Settings
) -> None:
    rng, valid = random.Random(SEED), cookies_of(settings)
    for number in range(200):
        cookie, other = rng.sample(valid, 2)
        value = MUTATIONS[number % len(MUTATIONS)](rng, cookie, other)
        if value in {*valid, ""}:
            continue
        browser = Browser(value)
        assert browser.entries() == {}
        assert browser.response.status_code == 200
        assert browser.cookie is None
