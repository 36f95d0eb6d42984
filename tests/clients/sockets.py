"""A Channels application whose consumers do what a test asks for, and clients for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from http.cookies import SimpleCookie
from typing import Any, Self

from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from channels.sessions import SessionMiddlewareStack

from tests.web.browser import Browser, Reply

Scope = Any
Message = dict[str, Any]
Headers = list[tuple[bytes, bytes]]
#: What a consumer does with its scope; what it returns is sent as JSON.
Body = Callable[[Scope], Coroutine[Any, Any, Any]]

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


class WebSocket:
    """The client's end of a websocket. It is open between `connect` and `disconnect`."""

    def __init__(self, application: Any, headers: Headers) -> None:
        scope = {"type": "websocket", "path": "/", "query_string": b"", "subprotocols": []}
        self._site = ApplicationCommunicator(application, scope | {"headers": headers})

    async def connect(self) -> None:
        answer = await answer_of(self._site, {"type": "websocket.connect"})
        assert answer["type"] == "websocket.accept"

    async def ask(self, content: object) -> Message:
        """Send *content* as JSON, and return what comes back."""
        sent = {"type": "websocket.receive", "text": json.dumps(content)}
        return await answer_of(self._site, sent)

    async def disconnect(self) -> None:
        """Close the websocket, unless the application did."""
        if not self._site.future.done():
            await self._site.send_input({"type": "websocket.disconnect", "code": 1000})
            await self._site.wait(DEADLINE)


async def answer_of(site: ApplicationCommunicator, message: Message) -> Message:
    """Send *message* to an application, and return its next one.

    An error that ends the application meanwhile is raised. A communicator looks for it only after its
    whole time limit.
    """
    await site.send_input(message)
    receiving = asyncio.create_task(site.receive_output(DEADLINE))
    await asyncio.wait({receiving, site.future}, return_when=asyncio.FIRST_COMPLETED)
    if not receiving.done() and site.future.exception() is not None:
        receiving.cancel()
        await asyncio.wait({receiving})
        site.future.result()
    answer: Message = await receiving
    return answer


class Socket:
    """An open websocket, for sync tests."""

    def __init__(self, client: WebSocket, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __enter__(self) -> Self:
        self._runner.run(self._client.connect())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.disconnect())

    def ask(self, body: Body) -> Any:
        """Have the consumer do *body*, and return its answer."""
        with named(body) as name:
            answer = self._runner.run(self._client.ask(name))
        assert answer["type"] == "websocket.send"
        return json.loads(answer["text"])


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
        client = WebSocket(application(stack), headers(browser))
        return self._stack.enter_context(Socket(client, self._runner))

    def ask(self, browser: Browser, body: Body) -> Reply:
        """Ask the HTTP consumer for a page that does *body*; its cookies go into the jar."""
        with named(body) as name:
            return self._runner.run(self._asking(browser, name))

    async def _asking(self, browser: Browser, name: str) -> Reply:
        scope = {"type": "http", "method": "GET", "path": f"/{name}/", "headers": headers(browser)}
        site = ApplicationCommunicator(application(AuthMiddlewareStack), scope)
        start = await answer_of(site, {"type": "http.request"})
        content = await site.receive_output(DEADLINE)
        await site.wait(DEADLINE)
        cookies = SimpleCookie()
        for header, value in start["headers"]:
            assert header == b"Set-Cookie"
            cookies.load(value.decode())
        for morsel in cookies.values():
            morsel["max-age"] = int(morsel["max-age"]) if morsel["max-age"] else ""
        reply = Reply(
            status=start["status"], body=content["body"], headers={}, cookies=dict(cookies)
        )
        if reply.deletes_the_cookie:
            browser.cookies.clear()
        elif reply.new_key is not None:
            browser.key = reply.new_key
        return reply


def headers(browser: Browser) -> Headers:
    """Return what the browser sends along with a websocket's handshake."""
    line = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return [(b"cookie", line.encode())] if line else []
