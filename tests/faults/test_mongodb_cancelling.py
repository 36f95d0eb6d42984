"""An async request that is cancelled, wherever it waits: what it did is done or not, whole."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory
from servers import MongoServer

from django_multisession.engines.mongodb import SessionStore
from django_multisession.middleware import SessionMiddleware
from tests.faults.cancelling import cancelled_at
from tests.faults.mongodb_site import site
from tests.wire.visitor import session_cookie

pytestmark = pytest.mark.once

#: One connection, which a request that is cancelled must not keep, and time for a busy machine.
ONE_CONNECTION = {"maxPoolSize": 1, "timeoutMS": 30000}


async def ask(key: str | None, page: Any) -> Any:
    """Ask for *page* through our middleware, with the session *key*."""
    request = AsyncRequestFactory().get("/")
    if key is not None:
        request.COOKIES["sessionid"] = key
        request.META["HTTP_COOKIE"] = f"sessionid={key}"
    return await SessionMiddleware(page)(request)


async def begin(request: HttpRequest) -> HttpResponse:
    await request.session.aset("saves", 1)
    return HttpResponse()


async def save(request: HttpRequest) -> HttpResponse:
    saves: int = (await request.session.aget("saves")) or 0
    await request.session.aset("saves", saves + 1)
    return HttpResponse()


async def log_in(request: HttpRequest) -> HttpResponse:
    await request.session.acycle_key()
    await request.session.aset(SESSION_KEY, "1")
    return HttpResponse()


async def log_out(request: HttpRequest) -> HttpResponse:
    await request.session.aflush()
    return HttpResponse()


async def stored(key: str) -> dict[str, Any]:
    return dict(await SessionStore(key).aitems())


#: A page → what its session's old key may lead to when it was cancelled, beside what was there.
AFTERWARDS = {save: {"saves": 2}, log_in: {}, log_out: {}}


# PyMongo (4.20) leaves the socket of a cancelled connect to the garbage collector.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("is_cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("page", AFTERWARDS, ids=lambda page: page.__name__)
def test_a_request_cancelled_at_any_await_is_done_or_not_and_harms_no_other(
    page: Any, is_cold: bool, mongodb_standalone: MongoServer
) -> None:
    async def walk() -> None:
        others = session_cookie(await ask(None, begin))
        assert others
        for turn in itertools.count():
            mine = session_cookie(await ask(None, begin))
            assert mine
            if is_cold:
                await SessionStore.get_driver().aclose()
            # Not late: Python 3.11's asyncio.wait_for(), which PyMongo uses, forgets a cancellation
            # in the turn in which what it waits for ends.
            was_cancelled, answer = await cancelled_at(turn, ask(mine, page), is_late=False)
            # Over the only connection there is.
            assert await stored(others) == {"saves": 1}
            found = await stored(mine)
            assert found in ({"saves": 1}, AFTERWARDS[page])
            if found:
                assert (await ask(mine, save)).status_code == 200
                assert (await stored(mine))["saves"] in {2, 3}
            if answer is not None:
                assert found == AFTERWARDS[page]
            if not was_cancelled:
                assert turn > 0
                return

    with site(mongodb_standalone.url, ONE_CONNECTION):
        asyncio.run(walk())
