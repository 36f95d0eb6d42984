"""What a login records of its client: the user agent and the address, and the device in an agent.

All of it is the client's own text, and an agent can be anything: nothing here raises for what it says.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import NamedTuple

#: The entries that a login records. Their names begin as those do that say whose session it is
#: (`merging.AUTH_PREFIX`): a login takes them along, and no other request changes them.
USER_AGENT_ENTRY = "_auth_user_agent"
ADDRESS_ENTRY = "_auth_address"

#: Characters of an agent that are kept: browsers send half as many. It also bounds what is parsed.
LONGEST_USER_AGENT = 256
#: Bits of an address that name a network: a site at most, and no household.
IPV4_NETWORK_BITS, IPV6_NETWORK_BITS = 24, 48

#: Characters of a browser's or a system's name: the parser's own ones are shorter.
LONGEST_NAME = 40

#: Markup, an address or a list. The in-app browser of iOS is called "Mobile Safari UI/WKWebView".
_MORE_THAN_A_NAME = re.compile(r"[<>:,]|\w\.\w|/(?!WKWebView$)")
_NUMBER = re.compile(r"\d+(?:[._]\d+)*")
#: As people call them.
_SYSTEM_NAMES = {"Mac OS X": "macOS"}


class Device(NamedTuple):
    """What kind of client an agent names; both are empty if it isn't known."""

    browser: str = ""
    system: str = ""


def clean_user_agent(text: object) -> str:
    """Return *text* without what no agent needs, cut to `LONGEST_USER_AGENT` characters."""
    if not isinstance(text, str):
        return ""
    kept = text[:LONGEST_USER_AGENT]
    return kept if kept.isprintable() else "".join(c if c.isprintable() else "?" for c in kept)


def shown_address(text: object, *, is_truncated: bool) -> str:
    """Return the address in *text*, or the network that it is in; empty if it isn't an address."""
    if not isinstance(text, str):
        return ""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not is_truncated:
        return str(address)
    is_v4 = isinstance(address, ipaddress.IPv4Address)
    bits = IPV4_NETWORK_BITS if is_v4 else IPV6_NETWORK_BITS
    return str(ipaddress.ip_network((address, bits), strict=False))


def device_of(user_agent: str) -> Device:
    """Return the device that *user_agent* names, as far as the parser is installed and knows it."""
    return _parsed(clean_user_agent(user_agent))


def shown_name(part: str) -> str:
    """Return *part* of a device; empty if it's more than a name.

    The parser takes the names of many apps from the client's text as they are.
    """
    return "" if len(part) > LONGEST_NAME or _MORE_THAN_A_NAME.search(part) else part


def identity_of(user_agent: str) -> Device:
    """Return what is the same for two agents of one device, whatever their versions are."""
    if _has_parser():
        return device_of(user_agent)
    return Device(browser=_NUMBER.sub("", clean_user_agent(user_agent)))


@functools.lru_cache(maxsize=1024)
def _parsed(user_agent: str) -> Device:
    try:
        from ua_parser import parse_os, parse_user_agent
    except ImportError:
        return Device()
    browser, system = parse_user_agent(user_agent), parse_os(user_agent)
    name = "" if system is None else system.family
    return Device("" if browser is None else browser.family, _SYSTEM_NAMES.get(name, name))


@functools.cache
def _has_parser() -> bool:
    try:
        # Releases before 1.0 have other functions.
        from ua_parser import parse_os, parse_user_agent  # noqa: F401  (are they there?)
    except ImportError:
        return False
    return True
