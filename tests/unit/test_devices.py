"""What is made of a client's own text: its user agent and its address."""

from __future__ import annotations

import sys
import time
import types

import pytest
from django.utils import translation

from django_multisession.core import devices
from django_multisession.core.devices import (
    LONGEST_USER_AGENT,
    Device,
    clean_user_agent,
    device_of,
    identity_of,
    shown_address,
)
from django_multisession.session.devices import name_of
from django_multisession.testing.rows import for_each

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
LATER_FIREFOX = FIREFOX.replace("140", "141")
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.4 Safari/605.1.15"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1"
)
HOSTILE = [
    "",
    "x",
    "<script>alert(1)</script>",
    "\0\r\nSet-Cookie: a=b",
    "\ud800\udfff Firefox/1",
    "\N{RIGHT-TO-LEFT OVERRIDE}xoferiF",
    "%s %(browser)s {0}",
    "A" * 1_000_000,
    "Mozilla/5.0 (" * 80_000,
    "Android 1." * 100_000,
]


@pytest.fixture(params=[None, types.ModuleType("ua_parser")], ids=["none", "before 1.0"])
def without_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the extra, or with a release of it that has none of its functions."""
    monkeypatch.setitem(sys.modules, "ua_parser", request.param)
    for cached in (devices._parsed, devices._has_parser):
        cached.cache_clear()
        monkeypatch.setattr(devices, cached.__name__, cached.__wrapped__)


@for_each(
    ("agent", "device", "name"),
    [
        (FIREFOX, Device("Firefox", "Linux"), "Firefox on Linux"),
        (CHROME, Device("Chrome", "Windows"), "Chrome on Windows"),
        (SAFARI, Device("Safari", "macOS"), "Safari on macOS"),
        (IPHONE, Device("Mobile Safari", "iOS"), "Mobile Safari on iOS"),
        ("curl/8.5.0", Device("curl"), "curl"),
        ("x (Windows NT 10.0)", Device("", "Windows"), "Windows"),
        ("x", Device(), ""),
    ],
)
def test_a_device_is_called_by_browser_and_system(agent: str, device: Device, name: str) -> None:
    assert device_of(agent) == device
    with translation.override("en"):
        assert name_of(agent) == name


@for_each(
    ("app", "name"),
    [
        ("<b>Your account is locked</b>", "iOS"),
        ("https: see there", "iOS"),
        ("Your account is locked. Go to evil.example", "iOS"),
        ("evil.example", "iOS"),
        ("evil/unlock", "iOS"),
        ("Safari on macOS, this device", "iOS"),
        ("A" * 41, "iOS"),
        ("A" * 40, f"{'A' * 40} on iOS"),
        ("Shop 2", "Shop 2 on iOS"),
    ],
)
def test_what_an_app_calls_itself_is_shown_if_it_is_a_name(app: str, name: str) -> None:
    agent = f"{app}/1.0 CFNetwork/1390 Darwin/22.0.0"
    with translation.override("en"):
        assert name_of(agent) == name
    # Another text is another device all the same.
    assert identity_of(agent) != identity_of(f"Other{agent}")


def test_the_browser_in_apps_of_ios_has_its_name() -> None:
    assert name_of(IPHONE.replace("Version/18.4 ", "").replace(" Safari/604.1", "")) == (
        "Mobile Safari UI/WKWebView on iOS"
    )


def test_a_device_is_called_in_the_readers_language() -> None:
    with translation.override("de"):
        assert name_of(FIREFOX) == "Firefox unter Linux"


@for_each("agent", HOSTILE)
def test_a_hostile_agent_is_cut_and_cleaned_and_parsed_without_a_crash(agent: str) -> None:
    cleaned = clean_user_agent(agent)
    assert len(cleaned) <= LONGEST_USER_AGENT
    assert cleaned.isprintable()
    began = time.process_time()
    assert all(type(part) is str for part in (*device_of(agent), *identity_of(agent)))
    assert len(name_of(agent)) <= 2 * LONGEST_USER_AGENT
    assert time.process_time() - began < 5


@for_each("given", [None, b"Firefox", 7, ["x"]])
def test_what_is_no_text_is_neither_an_agent_nor_an_address(given: object) -> None:
    assert clean_user_agent(given) == ""
    assert shown_address(given, is_truncated=False) == ""


def test_an_agent_that_harms_no_one_is_kept_as_it_is() -> None:
    assert clean_user_agent(FIREFOX) == FIREFOX
    assert clean_user_agent("Füchsin/1") == "Füchsin/1"
    assert clean_user_agent("a\tb\x7f") == "a?b?"


def test_versions_make_no_other_device() -> None:
    assert identity_of(FIREFOX) == identity_of(LATER_FIREFOX)
    assert len({identity_of(each) for each in (FIREFOX, CHROME, SAFARI, IPHONE, "x")}) == 5
    # A client that hides its agent is none of the known ones.
    assert identity_of("x") == identity_of("")


def test_without_the_parser_a_device_has_no_name_and_is_told_by_its_agent(
    without_parser: None,
) -> None:
    assert device_of(FIREFOX) == Device()
    assert name_of(FIREFOX) == ""
    assert identity_of(FIREFOX) == identity_of(LATER_FIREFOX)
    assert len({identity_of(each) for each in (FIREFOX, CHROME, SAFARI, IPHONE, "x")}) == 5


@for_each(
    ("given", "full", "truncated"),
    [
        ("192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
        (" 192.0.2.77 ", "192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
        ("2001:DB8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::1", "fe80::/48"),
        ("", "", ""),
        ("unknown", "", ""),
        ("192.0.2.77:443", "", ""),
        ("192.0.2.77, 198.51.100.1", "", ""),
        ("<b>192.0.2.77</b>", "", ""),
        ("1" * 1_000_000, "", ""),
        ("\ud800", "", ""),
    ],
)
def test_an_address_is_shown_in_full_or_as_its_network(
    given: str, full: str, truncated: str
) -> None:
    assert shown_address(given, is_truncated=False) == full
    assert shown_address(given, is_truncated=True) == truncated
