"""A Channels application whose consumers do what a test asks for, and clients for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from http.cookies import SimpleCookie
from typing import Any, Self, TypeVar

from channels.auth import AuthMiddlewareStack
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from channels.sessions import SessionMiddlewareStack
from channels.testing import ApplicationCommunicator, HttpCommunicator, WebsocketCommunicator

from tests.web.browser import Browser, Reply

Scope = Any
#: What a consumer does with its scope; what it returns is sent as JSON.
Body = Callable[[Scope], Coroutine[Any, Any, Any]]
Answer = TypeVar("Answer")

#: Seconds after which a client gives up. Nothing waits that long unless it hangs.
DEADLINE = 60

_bodies: dict[str, Body] = {}


@contextmanager
def named(body: Body) -> Iterator[str]:
    """Let consumers know *body* by a name, and yield the name."""
    name = str(id(body))
    _bodies[name] = body
    try:
        yield name
    finally:
        del _bodies[name]


class Messages(AsyncJsonWebsocketConsumer):
    """Does what each message names."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(await _bodies[content](self.scope))


class Page(AsyncHttpConsumer):
    """Does what the path names."""

    async def handle(self, body: bytes) -> None:
        answer = await _bodies[self.scope["path"].strip("/")](self.scope)
        await self.send_response(200, json.dumps({"answer": answer}).encode())


def application(stack: Callable[[Any], Any]) -> ProtocolTypeRouter:
    return ProtocolTypeRouter(
        {"http": stack(Page.as_asgi()), "websocket": stack(Messages.as_asgi())}
    )


class Socket:
    """The client's end of an open websocket."""

    def __init__(self, communicator: WebsocketCommunicator, runner: asyncio.Runner) -> None:
        self._communicator = communicator
        self._runner = runner

    def __enter__(self) -> Self:
        connecting = self._communicator.connect(DEADLINE)
        is_accepted, _ = self._runner.run(unless_it_raises(self._communicator, connecting))
        assert is_accepted
        return self

    def __exit__(self, *_: object) -> None:
        if not self._communicator.future.done():
            self._runner.run(self._communicator.disconnect(timeout=DEADLINE))

    def ask(self, body: Body) -> Any:
        """Have the consumer do *body*, and return its answer."""
        with named(body) as name:
            return self._runner.run(unless_it_raises(self._communicator, self._asking(name)))

    async def _asking(self, name: str) -> Any:
        await self._communicator.send_json_to(name)
        return await self._communicator.receive_json_from(DEADLINE)


class SocketSite:
    """The Channels half of a site.

    Args:
        runner: Has the event loop of every socket.
        stack: Ends the sockets that are still open.
    """

    def __init__(self, runner: asyncio.Runner, stack: ExitStack) -> None:
        self._runner = runner
        self._stack = stack

    def open(self, browser: Browser, *, knows_users: bool = True) -> Socket:
        """Open a websocket with the cookies of *browser*.

        Args:
            knows_users: Is Channels' AuthMiddleware in front of the consumer?
        """
        stack = AuthMiddlewareStack if knows_users else SessionMiddlewareStack
        communicator = WebsocketCommunicator(application(stack), "/", headers(browser))
        return self._stack.enter_context(Socket(communicator, self._runner))

    def ask(self, browser: Browser, body: Body) -> Reply:
        """Ask the HTTP consumer for a page that does *body*; its cookies go into the jar."""
        with named(body) as name:
            return self._runner.run(self._asking(browser, name))

    async def _asking(self, browser: Browser, name: str) -> Reply:
        communicator = HttpCommunicator(
            application(AuthMiddlewareStack), "GET", f"/{name}/", headers=headers(browser)
        )
        got = await unless_it_raises(communicator, communicator.get_response(DEADLINE))
        await communicator.wait(DEADLINE)
        cookies = SimpleCookie()
        for header, value in got["headers"]:
            assert header == b"Set-Cookie"
            cookies.load(value.decode())
        for morsel in cookies.values():
            morsel["max-age"] = int(morsel["max-age"]) if morsel["max-age"] else ""
        reply = Reply(status=got["status"], body=got["body"], headers={}, cookies=dict(cookies))
        if reply.deletes_the_cookie:
            browser.cookies.clear()
        elif reply.new_key is not None:
            browser.key = reply.new_key
        return reply


async def unless_it_raises(
    communicator: ApplicationCommunicator, exchange: Coroutine[Any, Any, Answer]
) -> Answer:
    """Await *exchange*, or raise what ends the application meanwhile.

    A communicator looks for that only after its whole time limit.
    """
    task = asyncio.create_task(exchange)
    await asyncio.wait({task, communicator.future}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done() and communicator.future.exception() is not None:
        task.cancel()
        await asyncio.wait({task})
        communicator.future.result()
    return await task


def headers(browser: Browser) -> list[tuple[bytes, bytes]]:
    """Return what the browser sends along with a websocket's handshake."""
    line = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return [(b"cookie", line.encode())] if line else []
