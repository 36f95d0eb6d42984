"""How memcached is reached: time limits, lost connections, threads, forks, what is no memcached."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers import MemcachedServer

from django_multisession.core.records import SAVED, Record
from django_multisession.drivers.base import arun, run
from django_multisession.drivers.memcached import server as memcached_server
from django_multisession.drivers.memcached.connections import Connection
from django_multisession.drivers.memcached.driver import MemcachedDriver
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import NOW, make_end, make_key, make_record
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.drivers.memcached_driving import Driving
from tests.drivers.test_redis_tls import certificates
from tests.proxy import TCPProxy
from tests.unit.test_after_fork import exit_code_of_child
from tests.wire.hops import watched

if TYPE_CHECKING:
    from tests.conftest import Running

__all__ = ["certificates"]

#: What a command may take here, in seconds, and what it took on a machine that is busy.
LIMIT, AT_MOST = 0.5, 20


@pytest.fixture
def memcached(running_servers: Running) -> MemcachedServer:
    return running_servers.memcached()


@pytest.fixture(params=["sync", "async"])
def driving(
    request: pytest.FixtureRequest, memcached: MemcachedServer, tmp_path: Path
) -> Iterator[Driving]:
    with Driving(request.param, memcached.binary, tmp_path) as driving:
        yield driving


@pytest.fixture
def proxy(memcached: MemcachedServer) -> Iterator[TCPProxy]:
    with TCPProxy(memcached.host, memcached.port) as proxy:
        yield proxy


def kind_of(call: Callable[[], object]) -> OutageKind:
    with pytest.raises(StoreUnavailable) as caught:
        call()
    # pymemcache's frames hold payloads.
    assert caught.value.__context__ is None
    return caught.value.kind


# Time limits


def test_a_server_that_hangs_is_given_up_in_time(driving: Driving, proxy: TCPProxy) -> None:
    driver, key = driving.open(proxy, timeout=LIMIT), make_key()
    driving.ask(driver, "add", key, make_record())
    proxy.hang()
    began = time.monotonic()
    assert kind_of(lambda: driving.ask(driver, "get", key)) is OutageKind.TIMED_OUT
    assert LIMIT * 0.9 < time.monotonic() - began < AT_MOST
    proxy.resume()
    assert driving.ask(driver, "get", key) is not None


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Listen on a port, and have *answer* treat each connection that is made."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    with contextlib.suppress(OSError):
                        connection.recv(4096)
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            connection.close()
        thread.join()


def test_an_answer_that_trickles_in_ends_with_the_time_limit(driving: Driving) -> None:
    def trickle(connection: socket.socket) -> None:
        # Each byte comes within the limit of one read, until the client hangs up.
        while True:
            connection.sendall(b"V")
            time.sleep(LIMIT / 10)

    with answering(trickle) as (host, port):
        driver = driving.open(SERVERS=[f"{host}:{port}"], timeout=LIMIT)
        assert kind_of(lambda: driving.ask(driver, "get", make_key())) is OutageKind.TIMED_OUT
        driver.close()


@for_each(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", OutageKind.REFUSED),
        (b"-ERR unknown command 'gets'\r\n", OutageKind.REFUSED),
        (b"VALUE another 0 1 1\r\nx\r\nEND\r\n", OutageKind.REFUSED),
        (b"VALUE \r\n", OutageKind.REFUSED),
        (b"SERVER_ERROR something secret\r\n", OutageKind.REFUSED),
        (b"ERROR Too many open connections\r\n", OutageKind.OVERLOADED),
    ],
)
def test_what_is_no_answer_is_an_outage_and_not_quoted(answer: bytes, kind: OutageKind) -> None:
    with answering(lambda connection: connection.sendall(answer)) as (host, port):
        driver = MemcachedDriver({"SERVERS": [f"{host}:{port}"]}, time.time)
        with pytest.raises(StoreUnavailable) as caught:
            run(driver.get(make_key()))
        driver.close()
    assert caught.value.kind is kind
    assert "secret" not in str(caught.value)
    assert "HTTP" not in str(caught.value)


def test_a_server_that_is_too_old_is_reported() -> None:
    answers = [b"VERSION 1.5.22", b"END", b"END", b"STORED", b"END", b"NOT_FOUND"]

    def answer(connection: socket.socket) -> None:
        for each in answers:
            connection.sendall(each + b"\r\n")
            connection.recv(4096)

    with answering(answer) as (host, port):
        driver = MemcachedDriver({"SERVERS": [f"{host}:{port}"], "timeout": 60}, time.time)
        (problem,) = driver.check()
        driver.close()
    assert problem.id == "multisession.E142"
    assert "must be 1.6 or newer (got '1.5.22')" in problem.message


# Lost connections


@pytest.mark.parametrize("verb", ["add", "replace", "retire", "delete", "withdraw", "get"])
def test_a_command_whose_answer_is_lost_is_sent_again(
    driving: Driving, proxy: TCPProxy, verb: str
) -> None:
    driver, key, record = driving.open(proxy), make_key(), make_record()
    mine, end = next_write(record), make_end()
    if verb != "add":
        driving.ask(driver, "add", key, record)
    base = driving.ask(driver, "get", key)
    expected: dict[str, tuple[tuple[Any, ...], object, object]] = {
        "add": ((record,), True, record),
        "replace": ((mine, base, NOW), SAVED, mine),
        "retire": ((base, end, NOW, NOW), SAVED, end),
        "delete": ((end,), True, end),
        "withdraw": ((record,), None, None),
        "get": ((), record, record),
    }
    arguments, answer, stored = expected[verb]
    command = {"add": "add", "get": "gets"}.get(verb, "cas")
    proxy.reset()
    proxy.cut_next_answer(command)
    assert driving.ask(driver, verb, key, *arguments) == answer
    assert proxy.commands.count(command) == 2
    assert driving.ask(driver, "get", key) == stored


def test_a_command_is_sent_again_once(driving: Driving, proxy: TCPProxy) -> None:
    driver, key = driving.open(proxy), make_key()
    driving.ask(driver, "add", key, make_record())
    proxy.reset()
    proxy.cut_next_answer("gets", times=2)
    assert kind_of(lambda: driving.ask(driver, "get", key)) is OutageKind.UNREACHABLE
    assert proxy.commands == ["gets", "gets"]


def test_idle_connections_that_a_restart_ended_cost_no_request_anything(driving: Driving) -> None:
    server = driving.start()
    driver = driving.open(server)
    barrier = threading.Barrier(5)

    def use() -> None:
        node = driver.server.nodes[0]
        node.exchange(
            lambda connection: (connection.version(), barrier.wait()), time.monotonic() + 60
        )

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.restart()
    for _ in range(5):
        assert driving.ask(driver, "get", make_key()) is None


def test_a_refusal_costs_no_other_connection(driving: Driving, proxy: TCPProxy) -> None:
    driver, until = driving.open(proxy), time.monotonic() + 60
    node, key = driver.server.nodes[0], make_key()

    def refuse_while_another_is_in_use(connection: Connection) -> None:
        connection.version()
        with pytest.raises(StoreUnavailable):
            driving.ask(driver, "add", key, make_record(payload=bytes(1 << 20)))

    node.exchange(refuse_while_another_is_in_use, until)
    proxy.reset()
    assert driving.ask(driver, "get", key) is None
    assert proxy.total_connections == 0


def test_an_interrupt_leaves_no_answer_to_the_next_command(memcached: MemcachedServer) -> None:
    driver = MemcachedDriver({"SERVERS": [memcached.url], "KEY_PREFIX": "i:"}, time.time)
    key, record = make_key(), make_record()
    run(driver.add(key, record))

    def interrupted(connection: Connection) -> None:
        connection.sock.sendall(b"version\r\n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.server.nodes[0].exchange(interrupted, time.monotonic() + 60)
    assert run(driver.get(key)) == record
    driver.close()


# Threads


def test_a_verb_of_an_event_loop_is_one_hop_to_a_thread(memcached: MemcachedServer) -> None:
    driver = MemcachedDriver({"SERVERS": [memcached.url], "KEY_PREFIX": "h:"}, time.time)

    async def hops_of(verb: str, *arguments: Any) -> int:
        with watched() as seen:
            await arun(getattr(driver, verb)(*arguments))
        assert (seen.functions, seen.threads) == ([], 0)
        return seen.calls

    async def walk() -> list[int]:
        key, record = make_key(), make_record()
        mine = next_write(record)
        return [
            await hops_of("add", key, record),
            await hops_of("get", key),
            # Two commands, as nothing was read.
            await hops_of("replace", key, mine, record, NOW),
            await hops_of("delete", key, make_end()),
        ]

    assert asyncio.run(walk()) == [1, 1, 1, 1]
    driver.close()


def test_a_verb_that_finds_no_thread_in_time_is_overloaded(
    memcached: MemcachedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memcached_server, "THREADS", 1)
    driver = MemcachedDriver({"SERVERS": [memcached.url], "timeout": LIMIT}, time.time)
    is_free = threading.Event()

    async def ask() -> OutageKind:
        loop = asyncio.get_running_loop()
        busy = loop.create_task(driver.server.asend(lambda _items: is_free.wait(AT_MOST)))
        await asyncio.sleep(0)
        loop.call_later(LIMIT * 1.2, is_free.set)
        with pytest.raises(StoreUnavailable) as caught:
            await arun(driver.get(make_key()))
        await busy
        return caught.value.kind

    assert asyncio.run(ask()) is OutageKind.OVERLOADED
    driver.close()


def test_a_cancelled_verb_leaves_a_connection_in_order(memcached: MemcachedServer) -> None:
    driver = MemcachedDriver({"SERVERS": [memcached.url], "KEY_PREFIX": "c:"}, time.time)
    records = {make_key(): make_record() for _ in range(20)}

    async def walk() -> None:
        for key, record in records.items():
            await arun(driver.add(key, record))
        for key, record in records.items():
            task = asyncio.ensure_future(arun(driver.get(key)))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await arun(driver.get(key)) == record

    asyncio.run(walk())
    driver.close()


def test_many_threads_and_loops_get_their_own_answers(driving: Driving) -> None:
    driver = driving.open(driving.start())
    records = {make_key(): make_record() for _ in range(30)}
    for key, record in records.items():
        driving.ask(driver, "add", key, record)
    wrong: list[str] = []

    def read_all() -> None:
        for key, record in records.items():
            found = run(driver.get(key))
            if not (isinstance(found, Record) and found == record):
                wrong.append(key)

    async def aread_all() -> None:
        found = await asyncio.gather(*(arun(driver.get(key)) for key in records))
        wrong.extend(key for key, each in zip(records, found, strict=True) if each != records[key])

    threads = [threading.Thread(target=read_all) for _ in range(6)]
    threads += [threading.Thread(target=lambda: asyncio.run(aread_all())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Forks, TLS, what is missing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork to survive")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_and_threads_of_its_own(proxy: TCPProxy) -> None:
    address = f"{proxy.host}:{proxy.port}"
    driver = MemcachedDriver({"SERVERS": [address], "KEY_PREFIX": "f:", "timeout": 60}, time.time)
    key, record = make_key(), make_record()
    assert run(driver.add(key, record))
    assert asyncio.run(arun(driver.get(key))) == record

    def work() -> None:
        assert run(driver.get(key)) == record
        assert asyncio.run(arun(driver.get(key))) == record

    proxy.reset()
    assert exit_code_of_child(work) == 0
    assert proxy.total_connections >= 1
    assert run(driver.get(key)) == record
    driver.close()


class WithTLS(MemcachedServer):
    """A memcached that speaks TLS only, with the certificate "server" of its directory's parent."""

    def _arguments(self) -> list[str]:
        certificate, key = (self.directory.parent / f"server.{kind}" for kind in ("crt", "key"))
        return [*super()._arguments(), "-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}"]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return True
        return False


def test_tls_is_spoken_with_who_has_the_certificate(driving: Driving, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=certificates / "authority.crt")
    with WithTLS(driving.binary, certificates / "tls") as server:
        driver = driving.open(server, tls_context=context)
        for size in (1, 16384, 500_000):
            key, record = make_key(), make_record(payload=os.urandom(size))
            assert driving.ask(driver, "add", key, record) is True
            assert driving.ask(driver, "get", key) == record
        assert driver.check() == []
        doubtful = driving.open(server, tls_context=ssl.create_default_context())
        assert kind_of(lambda: driving.ask(doubtful, "get", key)) is OutageKind.UNREACHABLE


def test_a_missing_library_is_told_with_what_to_install() -> None:
    script = (
        "import sys; sys.modules['pymemcache'] = None\n"
        "from django.core.exceptions import ImproperlyConfigured\n"
        "try:\n    import django_multisession.drivers.memcached.driver\n"
        "except ImproperlyConfigured as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "Install django-multisession[memcached] to use this engine.\n", (
        done.stderr
    )
