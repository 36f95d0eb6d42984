from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync

from django_multisession.drivers.loops import ClientPerLoop


class Client:
    """Remembers in which loop it was closed."""

    def __init__(self) -> None:
        self.closed_in: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        # Closing a real client suspends, and more than once.
        for _ in range(10):
            await asyncio.sleep(0)
        self.closed_in = asyncio.get_running_loop()


class Clients(ClientPerLoop[Client]):
    """Remembers every client that it opened."""

    def __init__(self) -> None:
        super().__init__(self._make, Client.close)
        self.opened: list[Client] = []

    def _make(self) -> Client:
        self.opened.append(Client())
        return self.opened[-1]


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_loop_keeps_its_client(clients: Clients) -> None:
    async def ask() -> None:
        assert await clients.get() is await clients.get()

    asyncio.run(ask())


def test_two_loops_have_two_clients(clients: Clients) -> None:
    assert asyncio.run(clients.get()) is not asyncio.run(clients.get())


def test_concurrent_first_uses_open_one_client(clients: Clients) -> None:
    async def ask() -> None:
        await asyncio.gather(*(clients.get() for _ in range(100)))

    asyncio.run(ask())
    assert len(clients.opened) == 1


def test_asyncio_run_closes_the_client_in_its_own_loop(clients: Clients) -> None:
    async def ask() -> asyncio.AbstractEventLoop:
        await clients.get()
        return asyncio.get_running_loop()

    loop = asyncio.run(ask())
    assert clients.opened[0].closed_in is loop
    assert len(clients) == 0


def test_async_to_sync_closes_the_client(clients: Clients) -> None:
    client = async_to_sync(clients.get)()
    assert client.closed_in is not None
    assert len(clients) == 0


def test_a_thousand_loops_leave_no_client_open(clients: Clients) -> None:
    for _ in range(1000):
        asyncio.run(clients.get())
    assert len(clients.opened) == 1000
    assert all(client.closed_in for client in clients.opened)
    assert len(clients) == 0


def test_a_loop_that_was_closed_without_finalizing_is_forgotten(clients: Clients) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(clients.get())
    loop.close()
    asyncio.run(clients.get())
    assert len(clients) == 0


def test_aclose_closes_and_the_next_use_opens_again(clients: Clients) -> None:
    async def ask() -> None:
        first = await clients.get()
        await clients.aclose()
        assert first.closed_in is asyncio.get_running_loop()
        assert await clients.get() is not first

    asyncio.run(ask())
    assert all(client.closed_in for client in clients.opened)


def test_aclose_may_be_called_by_two_tasks_concurrently(clients: Clients) -> None:
    async def ask() -> None:
        await clients.get()
        await asyncio.gather(clients.aclose(), clients.aclose())

    asyncio.run(ask())
    assert clients.opened[0].closed_in is not None


def test_aclose_where_nothing_was_opened_does_nothing(clients: Clients) -> None:
    asyncio.run(clients.aclose())
    assert clients.opened == []


def test_close_closes_clients_in_the_loops_of_other_threads(
    clients: Clients, running_loop: asyncio.AbstractEventLoop
) -> None:
    client = asyncio.run_coroutine_threadsafe(clients.get(), running_loop).result(10)
    clients.close()
    # Each is a turn of the loop, and closing takes fewer.
    for _ in range(30):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), running_loop).result(10)
    assert client.closed_in is running_loop
    assert len(clients) == 0


def test_clients_that_were_not_closed_and_are_not_held_are_closed_with_their_loop() -> None:
    with asyncio.Runner() as runner:
        client = runner.run(Clients().get())
        gc.collect()
        loop = runner.get_loop()
    assert client.closed_in is loop


def test_close_as_the_last_thing_in_a_loop_still_closes(clients: Clients) -> None:
    async def ask() -> None:
        await clients.get()
        clients.close()

    asyncio.run(ask())
    assert clients.opened[0].closed_in is not None


def test_close_while_the_loop_is_at_rest_leaves_closing_to_its_end(clients: Clients) -> None:
    with asyncio.Runner() as runner:
        client = runner.run(clients.get())
        clients.close()
        gc.collect()
        loop = runner.get_loop()
    assert client.closed_in is loop
    assert len(clients) == 0


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_fork_forgets_the_clients_and_asks_nothing_of_the_loop_of_the_parent(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    with asyncio.Runner() as runner:
        client = runner.run(clients.get())
        with monkeypatch.context() as patched:
            patched.setattr(
                runner.get_loop(), "call_soon_threadsafe", lambda *call: asked.append(call)
            )
            child = os.fork()
            if child == 0:
                gc.collect()
                os._exit(1 if asked or len(clients) else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(clients) == 1
        assert runner.run(clients.get()) is client
    assert client.closed_in is not None
