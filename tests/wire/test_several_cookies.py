"""Several cookies of one name: each signed one is looked up until one leads to a session, five at most."""

from __future__ import annotations

import dataclasses
from itertools import groupby

import pytest

from django_multisession.core import keys
from django_multisession.settings.conf import config
from tests.proxy import TCPProxy
from tests.wire.conftest import under_djangos, under_ours
from tests.wire.visitor import Visitor, as_visited, session_cookie

#: How many cookies of one name are looked at.
MOST = 5
FORGED = "f" * keys.LENGTH


@dataclasses.dataclass(slots=True)
class Jar:
    """Session keys of each sort that `Cookies.sent` names."""

    visitor: Visitor

    async def live(self) -> str:
        return await self._begun("live")

    async def ended(self) -> str:
        key = await self._begun("ended")
        await self.visitor.send(key, to="flush")
        return key

    async def unknown(self) -> str:
        """Signed, and the record has expired or never was."""
        return keys.make(config().signing_keys).session_key

    async def forged(self) -> str:
        return FORGED

    async def malformed(self) -> str:
        return "x"

    async def empty(self) -> str:
        return ""

    async def _begun(self, name: str) -> str:
        somebody = self.visitor.stranger()
        await somebody.get("write", name=name)
        assert somebody.key is not None
        return somebody.key

    async def filled(self, sorts: str) -> list[str]:
        """Return a key of each of *sorts*, once all is done that is done once per server."""
        await self.visitor.send(await self._begun("warm"), to="write", name="warmer")
        await self.visitor.send(await self._begun("warm"), to="flush")
        return [await getattr(self, sort)() for sort in sorts.split()]


@dataclasses.dataclass(frozen=True, slots=True)
class Cookies:
    """What is sent, and what a page that reads then costs and shows.

    Attributes:
        sent: The sort of each.
        cost: Round trips.
        finds: Is a session found?
    """

    sent: str
    cost: int
    finds: bool

    def __str__(self) -> str:
        return ",".join(f"{len(list(same))}{sort}" for sort, same in groupby(self.sent.split()))


SENT = [
    Cookies("live", cost=1, finds=True),
    Cookies("live unknown ended", cost=1, finds=True),
    Cookies("unknown live", cost=2, finds=True),
    Cookies("ended live", cost=2, finds=True),
    Cookies("unknown ended unknown live", cost=4, finds=True),
    Cookies("forged live", cost=1, finds=True),
    Cookies("malformed forged live", cost=1, finds=True),
    Cookies("forged ended forged live", cost=2, finds=True),
    Cookies("empty live", cost=1, finds=True),
    Cookies("forged forged forged", cost=0, finds=False),
    Cookies("malformed empty forged", cost=0, finds=False),
    Cookies("unknown unknown", cost=2, finds=False),
    # Five that are signed are looked at, and no more; forged ones do not count.
    Cookies("unknown unknown unknown unknown live", cost=MOST, finds=True),
    Cookies("unknown unknown unknown unknown unknown live", cost=MOST, finds=False),
    Cookies(" ".join(["unknown"] * 50), cost=MOST, finds=False),
    Cookies("forged forged forged forged live", cost=1, finds=True),
    Cookies(" ".join(["forged"] * 20) + " live", cost=1, finds=True),
]
pytestmark = [pytest.mark.usefixtures("engine")]


@pytest.mark.parametrize("cookies", SENT, ids=str)
@under_ours
@as_visited
async def test_a_read_costs_one_for_each_signed_cookie_until_one_leads_to_a_session(
    cookies: Cookies, proxy: TCPProxy, visitor: Visitor
) -> None:
    sent = await Jar(visitor).filled(cookies.sent)
    proxy.reset()
    response = await visitor.send(*sent, to="read")
    assert response.json() == {"name": "live" if cookies.finds else None}
    assert (proxy.round_trips, len(proxy.commands)) == (cookies.cost, cookies.cost)
    if cookies.finds:
        assert session_cookie(response) is None
    if cookies.cost == 0:
        assert proxy.bytes_to_server == 0


@pytest.mark.parametrize(
    "cookies",
    [cookies for cookies in SENT if cookies.sent in {"unknown live", "ended live"}],
    ids=str,
)
@under_ours
@as_visited
async def test_what_is_found_is_changed_and_its_cookie_set(
    cookies: Cookies, proxy: TCPProxy, visitor: Visitor
) -> None:
    sent = await Jar(visitor).filled(cookies.sent)
    await visitor.send(sent[-1], to="write", name="live")
    proxy.reset()
    response = await visitor.send(*sent, to="write_and_leave_it", name="changed")
    assert (response.status_code, session_cookie(response)) == (200, sent[-1])
    assert proxy.round_trips == cookies.cost + 1
    assert (await visitor.send(sent[-1], to="read")).json() == {"name": "changed"}


@pytest.mark.parametrize("cookies", [SENT[0], *SENT[-3:]], ids=str)
@under_ours
@as_visited
async def test_an_untouched_request_costs_nothing_however_many_it_sends(
    cookies: Cookies, proxy: TCPProxy, visitor: Visitor
) -> None:
    sent = await Jar(visitor).filled(cookies.sent)
    proxy.reset()
    response = await visitor.send(*sent, to="untouched")
    assert response.status_code == 200
    assert proxy.bytes_to_server == 0


@under_ours
@as_visited
async def test_a_logout_costs_one_for_each_signed_cookie_and_ends_them_all(
    proxy: TCPProxy, visitor: Visitor
) -> None:
    sent = await Jar(visitor).filled("live forged live live")
    proxy.reset()
    response = await visitor.send(*sent, to="flush")
    assert (response.status_code, session_cookie(response)) == (200, "")
    assert proxy.round_trips == 3
    for key in sent:
        assert (await visitor.send(key, to="read")).json() == {"name": None}


@under_ours
@as_visited
async def test_a_logout_ends_five_at_most(proxy: TCPProxy, visitor: Visitor) -> None:
    sent = await Jar(visitor).filled(" ".join(["live"] * (MOST + 1)))
    proxy.reset()
    await visitor.send(*sent, to="flush")
    assert proxy.round_trips == MOST
    assert (await visitor.send(sent[-1], to="read")).json() == {"name": "live"}


@under_djangos
@pytest.mark.parametrize(("sent", "shown"), [("unknown live", "live"), ("live unknown", None)])
@as_visited
async def test_djangos_middleware_looks_at_the_last_one_only(
    sent: str, shown: str | None, proxy: TCPProxy, visitor: Visitor
) -> None:
    keys_sent = await Jar(visitor).filled(sent)
    proxy.reset()
    response = await visitor.send(*keys_sent, to="read")
    assert response.json() == {"name": shown}
    assert proxy.round_trips == 1
