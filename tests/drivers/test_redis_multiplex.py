"""One connection for all tasks of a loop: whose reply is whose, and what an error says of a command."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import gc
import random
import ssl
import subprocess
import tempfile
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sized
from functools import partial
from pathlib import Path
from typing import Any, Self

import hiredis
import pytest
import redis
from server_binaries import redis_binaries
from servers import RedisServer, ServerFailed, free_port

from django_multisession.drivers.loops import ClientPerLoop
from django_multisession.drivers.redis.multiplex import (
    Lost,
    Multiplexed,
    NotSent,
    meaning_of,
)
from django_multisession.drivers.redis.protocol import Address, Attempt, Command, Refused, outage_of
from django_multisession.exceptions import OutageKind, StoreUnavailable
from tests.drivers.redis_fixtures import configure, connections_of, own_redis, within_deadline
from tests.proxy import TCPProxy

__all__ = ["own_redis"]

Run = Callable[[Coroutine[Any, Any, Any]], Any]

#: Seconds: a limit of time that a test lets pass, and within which a busy machine must answer later.
SOON = 0.5


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=pytest.mark.long)])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine in a loop of its own; the loop must have nothing to complain about."""
    factory = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    complaints: list[dict[str, Any]] = []

    def run_in_loop(steps: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            return runner.run(steps)

    yield run_in_loop
    gc.collect()
    assert not complaints


def address_of(server: Any, **changes: Any) -> Address:
    return dataclasses.replace(
        Address(host=server.host, port=server.port, timeout=30.0, connect_timeout=30.0), **changes
    )


class Locating:
    """Returns an address, and counts how often it was asked for."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses = list(addresses)
        self.count = 0

    async def __call__(self) -> Address:
        self.count += 1
        return self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]


@contextlib.asynccontextmanager
async def multiplexed(
    server: Any, *, max_in_flight: int = 1000, **changes: Any
) -> AsyncIterator[Multiplexed]:
    locate = server if isinstance(server, Locating) else Locating(address_of(server, **changes))
    made = Multiplexed(locate, can_move=len(locate.addresses) > 1, max_in_flight=max_in_flight)
    try:
        yield made
    finally:
        await made.close()


async def exchange_with_retry(get: Callable[[], Awaitable[Multiplexed]], command: Command) -> Any:
    """Do as the driver's server, but raise the error that it would make an outage of."""
    made = await get()
    attempt = Attempt(command, {}, can_move=made.can_move)
    while True:
        try:
            return await (await get()).exchange(attempt.command)
        except (Refused, OSError, StoreUnavailable) as error:
            if attempt.after(meaning_of(error, Address()), Address()) is not Attempt.AGAIN:
                raise


def outage_of_exchange(error: Refused | OSError, address: Address) -> StoreUnavailable:
    meant = meaning_of(error, address)
    return meant if isinstance(meant, StoreUnavailable) else outage_of(meant, address)


def retrying(made: Multiplexed) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def get() -> Multiplexed:
        return made

    return lambda *command: exchange_with_retry(get, command)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what is waited for happens in a server)
            await asyncio.sleep(0.001)


def has_more(found: Sized, count: int) -> bool:
    return len(found) > count


class Script:
    """A server that answers as it is told, in the loop of the test.

    Attributes:
        answer: Takes the words of a command and returns what to send, None for nothing.
        commands: What it was sent.
        connections: How many were made.
        drips: Whether it sends byte by byte.
    """

    host = "127.0.0.1"

    def __init__(self, answer: Callable[[list[bytes]], bytes | None]) -> None:
        self.answer = answer
        self.commands: list[list[bytes]] = []
        self.connections = self.open_connections = 0
        self.drips = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await until(lambda: not self.open_connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self.writers.append(writer)
        commands = hiredis.Reader()
        # The greeting of TLS is no command.
        with contextlib.suppress(OSError, hiredis.ProtocolError):
            while True:
                await self.reads.wait()
                if not (data := await reader.read(65536)):
                    break
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    self.commands.append(command)
                    if (reply := self.answer(command)) is not None:
                        await self.send(writer, reply)
        writer.close()
        self.open_connections -= 1

    async def send(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        size = 1 if self.drips else len(reply)
        for start in range(0, len(reply), size):
            writer.write(reply[start : start + size])
            await asyncio.sleep(0)


def echo(command: list[bytes]) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])


# Whose reply is whose.


def test_every_task_gets_its_own_reply(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis) as made:

            async def one(number: int) -> None:
                for turn in range(20):
                    word = f"{number}-{turn}" * (1 + number % 50)
                    assert await made.exchange(("ECHO", word)) == word.encode()

            await asyncio.gather(*(one(number) for number in range(512)))
            assert connections_of(own_redis) == 1

    run(ask())


def test_twenty_thousand_cancellations_cost_no_connection_and_no_reply(
    run: Run, own_redis: RedisServer
) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis, max_in_flight=80) as made:

            async def one(word: str) -> None:
                assert await made.exchange(("ECHO", word)) == word.encode()

            cancelled = number = 0
            while cancelled < 20_000:
                tasks = [asyncio.create_task(one(f"{number}-{place}")) for place in range(200)]
                number += 1
                for _ in range(4):
                    await turns(random.randrange(4))
                    for task in random.sample(tasks, 60):
                        task.cancel()
                for answer in await asyncio.gather(*tasks, return_exceptions=True):
                    assert answer is None or isinstance(answer, asyncio.CancelledError)
                    cancelled += answer is not None
            assert connections_of(own_redis) == 1

    run(ask())
    with redis.Redis.from_url(own_redis.url) as client:
        # Those of this test, of the one that starts the server, of the counting and of this one.
        assert client.info("stats")["total_connections_received"] <= 5


@pytest.mark.parametrize("is_first_canceled", [True, False])
def test_a_call_canceled_while_it_connects_takes_no_connection_from_others(
    run: Run, own_redis: RedisServer, is_first_canceled: bool
) -> None:
    async def ask() -> None:
        for count in range(12):
            async with multiplexed(own_redis, client_name="name", database=1) as made:
                tasks = [asyncio.create_task(made.exchange(("ECHO", str(n)))) for n in range(3)]
                await turns(count)
                tasks[0 if is_first_canceled else 2].cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                assert answers[1] == b"1"
                assert await made.exchange(("ECHO", "after")) == b"after"
                assert connections_of(own_redis) == 1

    run(ask())


def test_replies_that_drip_are_put_together(run: Run) -> None:
    async def ask() -> None:
        async with Script(echo) as server, multiplexed(server) as made:
            server.drips = True
            words = [f"word {number}".encode() for number in range(100)]
            assert await asyncio.gather(*(made.exchange(("ECHO", w)) for w in words)) == words

    run(ask())


def test_commands_of_one_turn_are_written_at_once(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        with TCPProxy(own_redis.host, own_redis.port) as proxy:
            async with multiplexed(proxy) as made:
                await made.exchange(("PING",))
                proxy.reset()
                await asyncio.gather(*(made.exchange(("ECHO", "word")) for _ in range(50)))
                assert proxy.round_trips == 1

    run(ask())


# Deadlines.


def test_a_paused_server_times_out_and_serves_again(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis, timeout=SOON) as made:
            await made.exchange(("SET", "key", "before"))
            configure(own_redis, "CLIENT", "PAUSE", 100_000, "WRITE")
            late = asyncio.create_task(made.exchange(("SET", "key", "after")))
            await turns(3)
            behind = asyncio.create_task(made.exchange(("ECHO", "behind")))
            with pytest.raises(TimeoutError):
                await late
            # Its turn never came: the reply before it had not.
            with pytest.raises((TimeoutError, Lost)):
                await behind
            configure(own_redis, "CLIENT", "UNPAUSE")
            for number in range(20):
                word = str(number)
                assert await made.exchange(("ECHO", word)) == word.encode()

    run(ask())
    within_deadline(lambda: connections_of(own_redis) == 0)


def test_a_canceled_command_whose_reply_is_late_ends_the_connection(run: Run) -> None:
    async def ask() -> None:
        async with Script(lambda _: None) as server, multiplexed(server, timeout=SOON) as made:
            task = asyncio.create_task(made.exchange(("ECHO", "word")))
            await until(lambda: server.commands)
            task.cancel()
            await until(lambda: not server.open_connections)
            server.answer = echo
            assert await made.exchange(("ECHO", "new")) == b"new"
            assert server.connections == 2

    run(ask())


def test_half_a_reply_is_not_taken_for_the_next(run: Run) -> None:
    async def ask() -> None:
        async with (
            Script(lambda _: b"$5\r\nhal") as server,
            multiplexed(server, timeout=SOON) as made,
        ):
            with pytest.raises(TimeoutError):
                await made.exchange(("ECHO", "half!"))
            server.answer = echo
            assert await made.exchange(("ECHO", "whole")) == b"whole"

    run(ask())


def test_a_reply_that_came_in_time_is_not_late_because_the_loop_was_busy(
    run: Run, own_redis: RedisServer
) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis, timeout=SOON) as made:
            await made.exchange(("PING",))
            tasks = [asyncio.create_task(made.exchange(("ECHO", "word"))) for _ in range(50)]
            await turns(3)
            time.sleep(SOON + 0.2)  # noqa: ASYNC251  (what a busy view does)
            assert await asyncio.gather(*tasks) == [b"word"] * 50
            assert connections_of(own_redis) == 1

    run(ask())


def test_a_hanging_network_times_out_and_serves_again(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        with TCPProxy(own_redis.host, own_redis.port) as proxy:
            async with multiplexed(proxy, timeout=SOON) as made:
                await made.exchange(("PING",))
                proxy.hang()
                tasks = [made.exchange(("ECHO", str(number))) for number in range(20)]
                for answer in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(answer, TimeoutError)
                proxy.resume()
                assert await retrying(made)("ECHO", "word") == b"word"

    run(ask())


# What becomes of commands when the connection is lost.


def test_a_caller_is_told_whether_its_command_was_written(run: Run) -> None:
    async def ask() -> None:
        async with Script(lambda _: None) as server, multiplexed(server) as made:
            written = asyncio.create_task(made.exchange(("ECHO", "written")))
            await until(lambda: server.commands)
            unwritten = asyncio.create_task(made.exchange(("ECHO", "unwritten")))
            await asyncio.sleep(0)
            assert made._connection is not None
            made._connection.end()
            answers = await asyncio.gather(written, unwritten, return_exceptions=True)
            assert [type(answer) for answer in answers] == [Lost, NotSent]
            assert server.commands == [[b"ECHO", b"written"]]

    run(ask())


def test_killed_connections_cost_one_more_try(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis) as made:
            send = retrying(made)

            async def one(number: int) -> None:
                for turn in range(10):
                    word = f"{number}-{turn}"
                    assert await send("ECHO", word) == word.encode()

            for number in range(20):
                tasks = [asyncio.create_task(one(n)) for n in range(40)]
                await turns(number)
                configure(own_redis, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await asyncio.gather(*tasks)

    run(ask())
    within_deadline(lambda: connections_of(own_redis) == 0)


def test_a_command_is_sent_twice_and_not_more(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        with TCPProxy(own_redis.host, own_redis.port) as proxy:
            async with multiplexed(proxy) as made:
                proxy.cut_next_answer(times=2)
                with pytest.raises(Lost):
                    await retrying(made)("INCR", "count")
                assert proxy.commands == ["INCR"] * 2
                assert await retrying(made)("GET", "count") == b"2"

    run(ask())


def test_a_restarted_server_serves_again(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis) as made:
            for _ in range(3):
                assert (
                    await asyncio.gather(*(retrying(made)("ECHO", "word") for _ in range(50)))
                    == [b"word"] * 50
                )
                own_redis.restart()

    run(ask())


def test_all_callers_share_one_attempt_to_connect(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        locate = Locating(address_of(own_redis))
        async with multiplexed(locate) as made:
            own_redis.stop()
            for attempt in range(1, 4):
                tasks = [retrying(made)("PING") for _ in range(50)]
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(answer) for answer in answers} == {NotSent}
                assert isinstance(answers[0], NotSent)
                assert isinstance(answers[0].cause, ConnectionRefusedError)
                outage = outage_of_exchange(answers[0], locate.addresses[0])
                assert outage.kind is OutageKind.UNREACHABLE
                assert str(outage).endswith("did not answer (ConnectionRefusedError).")
                assert locate.count == attempt
            own_redis.start()
            assert await made.exchange(("PING",)) == b"PONG"

    run(ask())


def test_what_does_not_speak_redis_is_left(run: Run) -> None:
    async def ask() -> None:
        async with (
            Script(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as server,
            multiplexed(server) as made,
        ):
            for _ in range(2):
                with pytest.raises(Lost):
                    await made.exchange(("PING",))
            await until(lambda: not server.open_connections)

    run(ask())


def test_a_reply_that_nobody_asked_for_ends_the_connection(run: Run) -> None:
    async def ask() -> None:
        async with Script(echo) as server, multiplexed(server) as made:
            await made.exchange(("ECHO", "word"))
            server.writers[0].write(b"+stray\r\n")
            await until(lambda: not server.open_connections)
            assert await made.exchange(("ECHO", "other")) == b"other"

    run(ask())


# How a connection begins.


def test_a_login_that_is_refused_reaches_every_caller(run: Run, own_redis: RedisServer) -> None:
    configure(own_redis, "CONFIG", "SET", "requirepass", "right")

    async def ask() -> None:
        for credentials, code in ((None, "NOAUTH"), (lambda: ("wrong",), "WRONGPASS")):
            async with multiplexed(own_redis, credentials=credentials) as made:
                tasks = [made.exchange(("GET", "key")) for _ in range(5)]
                for answer in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(answer, Refused)
                    assert answer.code == code
        async with multiplexed(own_redis, credentials=lambda: ("right",), database=3) as made:
            assert await made.exchange(("GET", "key")) is None
            configure_with = ("ACL", "SETUSER", "reader", "on", ">word", "~*", "+get", "+select")
            assert await made.exchange(configure_with) == b"OK"
        login: dict[str, Any] = {"credentials": lambda: ("reader", "word"), "database": 3}
        async with multiplexed(own_redis, **login) as made:
            tasks = [made.exchange(("SET", "key", "x")), made.exchange(("GET", "key"))]
            refused, found = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(refused, Refused)
            assert refused.code == "NOPERM"
            assert found is None

    run(ask())


def test_a_broken_source_of_credentials_is_no_answer(run: Run, own_redis: RedisServer) -> None:
    def credentials() -> tuple[str, ...]:
        raise LookupError("secret")

    async def ask() -> None:
        async with multiplexed(own_redis, credentials=credentials) as made:
            with pytest.raises(NotSent) as caught:
                await made.exchange(("PING",))
            outage = outage_of_exchange(caught.value, address_of(own_redis))
            assert "LookupError" in str(outage)
            assert "secret" not in str(outage)

    run(ask())


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_beginning_that_hangs_is_given_up(run: Run, is_tls: bool) -> None:
    async def ask() -> None:
        changes: dict[str, Any] = {"credentials": lambda: ("word",), "connect_timeout": 0.1}
        if is_tls:
            changes["tls"] = ssl.create_default_context
        async with Script(lambda _: None) as server, multiplexed(server, **changes) as made:
            server.reads.clear()
            with pytest.raises(TimeoutError):
                await made.exchange(("PING",))
            server.reads.set()
            await until(lambda: server.connections and not server.open_connections)

    run(ask())


def test_a_connection_lost_at_its_beginning_is_told(run: Run) -> None:
    async def ask() -> None:
        async with (
            Script(lambda _: b"not Redis\r\n") as server,
            multiplexed(server, credentials=lambda: ("word",)) as made,
        ):
            with pytest.raises(NotSent):
                await made.exchange(("PING",))

    run(ask())


def test_a_full_server_is_overloaded(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        with redis.Redis.from_url(own_redis.url) as client:
            client.config_set("maxclients", 1)
            async with multiplexed(own_redis) as made:
                # The server hangs up: sometimes before that is read.
                with pytest.raises((Refused, Lost, NotSent)) as caught:
                    await retrying(made)("PING")
                client.config_set("maxclients", 100)
                assert await made.exchange(("PING",)) == b"PONG"
            if isinstance(caught.value, Refused):
                outage = outage_of_exchange(caught.value, address_of(own_redis))
                assert outage.kind is OutageKind.OVERLOADED

    run(ask())


def test_a_unix_socket_is_spoken_to(run: Run, newest_redis: RedisServer, tmp_path: Path) -> None:
    with (
        # A path of pytest's may be longer than a socket's.
        tempfile.TemporaryDirectory() as short,
        RedisServer(
            newest_redis.binary, tmp_path / "redis", "--unixsocket", path := f"{short}/redis.sock"
        ) as server,
    ):

        async def ask() -> None:
            async with multiplexed(server, path=path, host="nowhere", keepalive={}) as made:
                assert await made.exchange(("PING",)) == b"PONG"

        run(ask())


def test_tls_is_spoken(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> None:
    certificate, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port(request.node)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=sessions", "-addext", "subjectAltName=DNS:sessions"),
                *("-keyout", key, "-out", certificate),
            ],
            check=True,
            capture_output=True,
        )
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    for version, binary in redis_binaries(tmp_path).items():
        server = RedisServer(binary, tmp_path / version, *options)
        with contextlib.suppress(ServerFailed):
            server.start()
            break
    else:
        pytest.skip("No Redis here speaks TLS, or openssl is missing.")

    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(certificate))

    async def ask() -> None:
        changes: dict[str, Any] = {"port": port, "tls": context}
        async with multiplexed(server, **changes, server_hostname="sessions") as made:
            words = [b"x" * 10_000 * number for number in range(50)]
            assert await asyncio.gather(*(made.exchange(("ECHO", w)) for w in words)) == words
            tasks = [asyncio.create_task(made.exchange(("PING",))) for _ in range(9)]
            await turns(2)
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            assert answer == b"PONG" or isinstance(answer, Lost)
        async with multiplexed(server, **changes) as made:
            with pytest.raises(NotSent) as caught:
                await made.exchange(("PING",))
            assert isinstance(caught.value.cause, ssl.SSLCertVerificationError)

    with server:
        run(ask())
        within_deadline(lambda: connections_of(server) == 0)


def test_keepalive_is_set(run: Run, own_redis: RedisServer) -> None:
    import socket

    async def ask() -> None:
        async with multiplexed(own_redis, keepalive={socket.TCP_KEEPIDLE: 77}) as made:
            await made.exchange(("PING",))
            assert made._connection is not None
            its_socket = made._connection._transport.get_extra_info("socket")
            assert its_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77

    run(ask())


# What a server answers that cannot serve now.


def test_a_master_that_is_one_no_longer_is_looked_for_again(
    run: Run, own_redis: RedisServer, newest_redis: RedisServer, tmp_path: Path
) -> None:
    async def ask(new: RedisServer) -> None:
        locate = Locating(address_of(own_redis), address_of(new))
        async with multiplexed(locate) as made:
            assert await retrying(made)("SET", "key", "old") == b"OK"
            configure(own_redis, "REPLICAOF", "127.0.0.1", "1")
            reads = [asyncio.create_task(retrying(made)("GET", "other")) for _ in range(9)]
            writes = [asyncio.create_task(retrying(made)("SET", "key", "new")) for _ in range(9)]
            assert await asyncio.gather(*reads) == [None] * 9
            assert await asyncio.gather(*writes) == [b"OK"] * 9
            assert locate.count == 2

    with RedisServer(newest_redis.binary, tmp_path / "new") as new:
        run(ask(new))
        with redis.Redis.from_url(new.url) as client:
            assert client.get("key") == b"new"


@pytest.mark.parametrize("code", ["READONLY", "MASTERDOWN"])
def test_a_master_that_is_not_to_be_found_is_not_looked_for_at_every_write(
    run: Run, own_redis: RedisServer, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(own_redis, "REPLICAOF", "127.0.0.1", "1")
    command = ("SET", "key", "new") if code == "READONLY" else ("GET", "key")
    if code == "MASTERDOWN":
        configure(own_redis, "CONFIG", "SET", "replica-serve-stale-data", "no")

    async def ask() -> None:
        locate = Locating(*[address_of(own_redis)] * 9)
        async with multiplexed(locate) as made:
            # As if time stood still.
            monkeypatch.setattr(made, "may_move", iter([True, *[False] * 100]).__next__)
            for _ in range(30):
                with pytest.raises(Refused) as caught:
                    await retrying(made)(*command)
                assert caught.value.code == code
            assert locate.count == 2

    run(ask())


def test_a_server_that_loads_keeps_its_connection(run: Run) -> None:
    async def ask() -> None:
        loading = b"-LOADING Redis is loading the dataset in memory\r\n"
        async with Script(lambda _: loading) as server, multiplexed(server) as made:
            for _ in range(3):
                with pytest.raises(Refused) as caught:
                    await retrying(made)("GET", "key")
                outage = outage_of_exchange(caught.value, address_of(server))
                assert outage.kind is OutageKind.UNREACHABLE
            server.answer = echo
            assert await made.exchange(("ECHO", "word")) == b"word"
            assert server.connections == 1
            assert len(server.commands) == 4

    run(ask())


# Room.


def test_commands_without_a_place_wait_for_one_in_their_order(run: Run) -> None:
    async def ask() -> None:
        async with Script(lambda _: None) as server, multiplexed(server, max_in_flight=3) as made:
            done: list[int] = []

            async def one(number: int) -> None:
                assert await made.exchange(("ECHO", str(number))) == str(number).encode()
                done.append(number)

            tasks = [asyncio.create_task(one(number)) for number in range(20)]
            for number in range(20):
                await until(partial(has_more, server.commands, number))
                await turns(3)
                assert len(server.commands) - number <= 3
                if number == 5:
                    # One that gave up is passed over.
                    tasks[15].cancel()
                if number == 15:
                    break
                server.writers[0].write(echo(server.commands[number]))
                await until(partial(has_more, done, number))
            for command in server.commands[15:]:
                server.writers[0].write(echo(command))
            await until(lambda: len(server.commands) == 19)
            server.writers[0].write(echo(server.commands[18]))
            await asyncio.wait(tasks)
            assert done == [number for number in range(20) if number != 15]

    run(ask())


def test_no_task_is_starved(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis, max_in_flight=8) as made:
            progress = [0] * 256

            async def one(number: int) -> None:
                for _ in range(20):
                    await made.exchange(("PING",))
                    progress[number] += 1
                    assert progress[number] - min(progress) <= 2

            await asyncio.gather(*(one(number) for number in range(256)))

    run(ask())


def test_a_wait_for_a_place_counts_as_time_and_ends_as_an_overload(run: Run) -> None:
    async def ask() -> None:
        async with (
            Script(lambda _: None) as server,
            multiplexed(server, max_in_flight=1, timeout=0.1) as made,
        ):
            await asyncio.gather(made.exchange(("ECHO", "x")), return_exceptions=True)
            tasks = [made.exchange(("ECHO", str(number))) for number in range(3)]
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(answers[0], TimeoutError)
            for answer in answers[1:]:
                assert isinstance(answer, StoreUnavailable)
                assert answer.kind is OutageKind.OVERLOADED

    run(ask())


def test_a_server_that_reads_slowly_makes_large_commands_wait(run: Run) -> None:
    async def ask() -> None:
        async with Script(echo) as server, multiplexed(server) as made:
            await made.exchange(("ECHO", "word"))
            server.reads.clear()
            words = [b"%d" % (number % 10) * 1_000_000 for number in range(30)]
            tasks = [asyncio.create_task(made.exchange(("ECHO", word))) for word in words]
            await until(lambda: made._waiting)
            assert made._connection is not None
            assert made._connection.is_paused
            # What its transport holds is a command or two, and not all of them.
            assert len(made._waiting) > 5
            server.reads.set()
            assert await asyncio.gather(*tasks) == words
            assert not made._waiting

    run(ask())


# The end.


def test_loops_leave_no_connection(run: Run, own_redis: RedisServer) -> None:
    clients = ClientPerLoop(
        lambda: Multiplexed(Locating(address_of(own_redis))), lambda made: made.close()
    )

    async def ask() -> None:
        assert await exchange_with_retry(clients.get, ("PING",)) == b"PONG"

    async def ask_and_leave() -> None:
        task = asyncio.create_task(exchange_with_retry(clients.get, ("PING",)))
        await turns(random.randrange(6))
        del task

    for _ in range(100):
        run(ask())
        run(ask_and_leave())
    assert len(clients) == 0
    within_deadline(lambda: connections_of(own_redis) == 0)


def test_what_is_asked_of_a_closed_one_fails(run: Run) -> None:
    async def ask() -> None:
        async with Script(lambda _: None) as server, multiplexed(server, max_in_flight=1) as made:
            in_flight = asyncio.create_task(made.exchange(("ECHO", "x")))
            await until(lambda: server.commands)
            waiting = asyncio.create_task(made.exchange(("ECHO", "y")))
            await turns(2)
            await made.close()
            with pytest.raises(Lost):
                await in_flight
            with pytest.raises(NotSent):
                await waiting
            with pytest.raises(NotSent):
                await made.exchange(("ECHO", "z"))
            await made.close()
            assert server.connections == 1

    run(ask())


def test_closing_while_it_connects_leaves_nothing(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        for count in range(12):
            made = Multiplexed(Locating(address_of(own_redis, client_name="name")))
            task = asyncio.create_task(made.exchange(("PING",)))
            await turns(count)
            await made.close()
            (answer,) = await asyncio.gather(*[task], return_exceptions=True)
            assert answer == b"PONG" or isinstance(answer, NotSent | Lost)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run(ask())
    within_deadline(lambda: connections_of(own_redis) == 0)


def test_a_connection_does_not_keep_the_context_of_whoever_opened_it(
    run: Run, own_redis: RedisServer
) -> None:
    class Request:
        pass

    variable: contextvars.ContextVar[Request] = contextvars.ContextVar("request")

    async def ask() -> None:
        async with multiplexed(own_redis) as made:

            async def view() -> weakref.ref[Request]:
                request = Request()
                variable.set(request)
                await made.exchange(("PING",))
                return weakref.ref(request)

            request = await asyncio.create_task(view())
            await turns(3)
            gc.collect()
            assert request() is None

    run(ask())


def refusals() -> int:
    return sum(type(each) is Refused for each in gc.get_objects())


def test_an_error_leaves_no_cycle(run: Run, own_redis: RedisServer) -> None:
    async def ask() -> None:
        async with multiplexed(own_redis) as made:
            await made.exchange(("PING",))
            gc.collect()
            before = refusals()
            gc.disable()
            try:
                for _ in range(20):
                    with contextlib.suppress(Refused):
                        await made.exchange(("HGETALL",))
                # The parser keeps its last error.
                assert refusals() <= before + 1
            finally:
                gc.enable()

    run(ask())
