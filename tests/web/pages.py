"""Bodies that many tests ask for."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse

from tests.web.browser import Browser
from tests.web.visits import Body, Visit


async def untouched(_visit: Visit) -> None:
    """Do nothing with the session."""


async def read(visit: Visit) -> Any:
    """Return every entry that a site set; Django's own begin with an underscore."""
    return {name: value for name, value in await visit.session.items() if not name.startswith("_")}


async def user(visit: Visit) -> str:
    return await visit.user()


async def log_out(visit: Visit) -> None:
    await visit.log_out()


def put(**entries: Any) -> Body:
    async def body(visit: Visit) -> None:
        for name, value in entries.items():
            await visit.session.set(name, value)

    return body


def log_in(name: str) -> Body:
    async def body(visit: Visit) -> None:
        await visit.log_in(name)

    return body


def failing(body: Body) -> Body:
    """Do *body* and answer 500."""

    async def failed(visit: Visit) -> HttpResponse:
        await body(visit)
        return HttpResponse(status=500)

    return failed


def crashing(body: Body) -> Body:
    """Do *body* and raise."""

    async def crashed(visit: Visit) -> None:
        await body(visit)
        raise ZeroDivisionError

    return crashed


def meanwhile(browser: Browser, other: Body, then: Body) -> Body:
    """Read the session, let *browser* ask for *other*, then do *then*."""

    async def body(visit: Visit) -> Any:
        await read(visit)
        await browser.visiting(other)
        return await then(visit)

    return body
