"""Responses that are streamed: the session is saved first, and one that is not sent leaves nothing open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from django.http import FileResponse, StreamingHttpResponse

from tests.engine_fixtures import Engine
from tests.proxy import TCPProxy
from tests.web.visits import Visit, page
from tests.wire.asgi import ASGISite, Exchange, until
from tests.wire.conftest import shorten_waits, under_ours
from tests.wire.visitor import Response, Visitor, as_visited, session_cookie

if TYPE_CHECKING:
    from pytest_django import Settings

CONTENT = b"a page " * 20_000

#: Django's own, of every FileResponse under ASGI: it reads its file synchronously.
files_are_sync = pytest.mark.filterwarnings(
    "ignore:StreamingHttpResponse must consume synchronous iterators"
)


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[Callable[[], BinaryIO]]:
    """Open a page in a file; whoever streams it closes it, or at the latest the end of the test."""
    path = tmp_path / "page.txt"
    path.write_bytes(CONTENT)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(path.open("rb"))


async def content_of(response: Response) -> bytes:
    parts = response.streaming_content
    return b"".join([part async for part in parts] if response.is_async else list(parts))


def twins(note: Callable[[], Any], anote: Callable[[], Any], visitor: Visitor) -> Any:
    """Return a stream that calls *note* before its only chunk, sync or async as *visitor* is."""

    def chunks() -> Iterator[bytes]:
        note()
        yield CONTENT

    async def achunks() -> AsyncIterator[bytes]:
        await anote()
        yield CONTENT

    return achunks() if visitor.is_async else chunks()


# What is sent


@as_visited
async def test_a_stream_begins_when_the_session_is_saved(engine: Engine, visitor: Visitor) -> None:
    stored = []

    async def stream(visit: Visit) -> StreamingHttpResponse:
        await visit.session.set("name", "streamed")

        def look() -> None:
            stored.append(engine.SessionStore(visit.store.session_key).get("name"))

        async def alook() -> None:
            stored.append(await engine.SessionStore(visit.store.session_key).aget("name"))

        return StreamingHttpResponse(twins(look, alook, visitor))

    response = await visitor.open(stream)
    assert (response.status_code, stored) == (200, [])
    assert session_cookie(response) == visitor.key
    assert visitor.key is not None
    assert await content_of(response) == CONTENT
    assert stored == ["streamed"]


@as_visited
async def test_what_a_stream_itself_changes_is_not_saved(engine: Engine, visitor: Visitor) -> None:
    await visitor.get("write", name="first")

    async def stream(visit: Visit) -> StreamingHttpResponse:
        def change() -> None:
            visit.store["name"] = "too late"

        async def achange() -> None:
            await visit.store.aset("name", "too late")

        return StreamingHttpResponse(twins(change, achange, visitor))

    assert await content_of(await visitor.open(stream)) == CONTENT
    assert (await visitor.get("read")).json() == {"name": "first"}


def test_the_cookie_of_a_stream_is_sent_before_its_first_chunk(engine: Engine) -> None:
    exchange = Exchange()
    sent_before = []

    async def chunks() -> AsyncIterator[bytes]:
        sent_before.append((exchange.status, exchange.key))
        yield CONTENT

    async def stream(visit: Visit) -> StreamingHttpResponse:
        await visit.session.set("name", "streamed")
        return StreamingHttpResponse(chunks())

    async def visits() -> None:
        site = ASGISite()
        with page(stream) as name:
            await site.get(f"visit/{name}", exchange=exchange)
        assert exchange.body == CONTENT
        assert sent_before == [(200, exchange.key)]
        assert (await site.get("read", key=exchange.key)).shown == {"name": "streamed"}

    asyncio.run(visits())


@files_are_sync
@as_visited
async def test_a_file_is_sent_with_its_cookie_and_closed(
    engine: Engine, visitor: Visitor, open_file: Callable[[], BinaryIO]
) -> None:
    file = open_file()

    async def send(visit: Visit) -> FileResponse:
        await visit.session.set("name", "streamed")
        return FileResponse(file)

    response = await visitor.open(send)
    assert (response.status_code, session_cookie(response)) == (200, visitor.key)
    assert await content_of(response) == CONTENT
    assert file.closed
    assert (await visitor.get("read")).json() == {"name": "streamed"}


# What is not sent


@under_ours
@files_are_sync
@as_visited
async def test_a_file_that_a_503_takes_the_place_of_is_closed(
    *,
    engine: Engine,
    visitor: Visitor,
    proxy: TCPProxy,
    settings: Settings,
    open_file: Callable[[], BinaryIO],
) -> None:
    shorten_waits(engine, settings)
    file = open_file()

    async def send(visit: Visit) -> FileResponse:
        await visit.session.set("name", "streamed")
        proxy.refuse()
        return FileResponse(file)

    await visitor.begin("first")
    response = await visitor.open(send)
    assert (response.status_code, session_cookie(response)) == (503, None)
    assert file.closed
    proxy.accept()
    await visitor.read_until_well()


@under_ours
@files_are_sync
@as_visited
async def test_a_file_that_a_400_takes_the_place_of_is_closed(
    engine: Engine, visitor: Visitor, open_file: Callable[[], BinaryIO]
) -> None:
    file = open_file()
    await visitor.get("write", name="first")
    late = visitor.copy()
    await visitor.get("logout")

    async def send(visit: Visit) -> FileResponse:
        await visit.session.set("name", "streamed")
        return FileResponse(file)

    assert (await late.open(send)).status_code == 400
    assert file.closed


@under_ours
@as_visited
async def test_a_stream_that_a_503_takes_the_place_of_is_closed_unread(
    *, engine: Engine, visitor: Visitor, proxy: TCPProxy, settings: Settings
) -> None:
    shorten_waits(engine, settings)
    events = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            events.append("read")
            raise StopIteration

        def close(self) -> None:
            events.append("closed")

    async def send(visit: Visit) -> StreamingHttpResponse:
        await visit.session.set("name", "streamed")
        proxy.refuse()
        return StreamingHttpResponse(Chunks())

    await visitor.begin("first")
    assert (await visitor.open(send)).status_code == 503
    assert events == ["closed"]
    proxy.accept()
    await visitor.read_until_well()


@under_ours
@files_are_sync
def test_a_file_is_closed_whose_client_goes_while_the_session_is_saved(
    engine: Engine, proxy: TCPProxy, open_file: Callable[[], BinaryIO]
) -> None:
    file = open_file()

    async def send(visit: Visit) -> FileResponse:
        await visit.session.set("name", "streamed")
        proxy.hang()
        return FileResponse(file)

    async def visits() -> None:
        site = ASGISite()
        await site.get("write", query="name=first")
        gone = Exchange()
        with page(send) as name:
            visit = asyncio.create_task(site.get(f"visit/{name}", exchange=gone))
            await until(lambda: proxy.hanging)
            # The page is over in the same step as the save begins, which waits for an answer.
            gone.has_client_gone.set()
            await visit
        proxy.resume()
        assert gone.status == 0

    asyncio.run(visits())
    assert file.closed
