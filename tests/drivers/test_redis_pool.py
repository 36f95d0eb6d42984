"""Connections for threads: one reply to one command, one deadline, and no place ever lost."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from servers import RedisServer

from django_multisession.drivers.redis.pool import ConnectionPool
from django_multisession.drivers.redis.protocol import Address, ProtocolError, Refused
from django_multisession.exceptions import OutageKind, StoreUnavailable
from tests.drivers.redis_fixtures import connections_of, own_redis, within_deadline
from tests.drivers.redis_scripted import ScriptedServer

__all__ = ["own_redis"]

Open = Callable[..., ConnectionPool]


@pytest.fixture
def open_pool() -> Iterator[Open]:
    """Opens pools to a server."""
    with contextlib.ExitStack() as stack:

        def opened(
            server: Any, *, most: int = 50, patience: float | None = 2.0, **options: Any
        ) -> ConnectionPool:
            address = Address(host=server.host, port=server.port, **options)
            pool = ConnectionPool(address, lambda: address, most, patience)
            stack.callback(pool.close)
            return pool

        yield opened


def echoed(pool: ConnectionPool, text: bytes) -> bool:
    return bool(pool.exchange(("ECHO", text)) == text)


def kill_all(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_command_and_a_reply_of_any_size(newest_redis: RedisServer, open_pool: Open) -> None:
    pool = open_pool(newest_redis, timeout=20)
    for size in (0, 1, 8000, 8192, 16300, 16384, 16385, 100_000, 5_000_000):
        assert echoed(pool, os.urandom(size))
    assert pool.exchange(("PING",)) == b"PONG"


def test_a_refusal_is_a_reply_and_keeps_its_line(
    newest_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(newest_redis, most=1)
    for _ in range(3):
        refused = pool.exchange(("NO-SUCH-COMMAND",))
        assert isinstance(refused, Refused)
        assert refused.code == "ERR"
    (connection,) = pool._free
    assert echoed(pool, b"after")
    assert pool._free == [connection]


@pytest.mark.parametrize("is_small", [True, False])
def test_a_server_that_drips_holds_nobody_beyond_the_deadline(
    open_pool: Open, is_small: bool
) -> None:
    def drip(taken: socket.socket) -> None:
        taken.recv(100)
        taken.sendall(b"$1000\r\n")
        while not server.ended.wait(0.05):
            taken.sendall(b"x")

    with ScriptedServer(drip) as server:
        pool = open_pool(server, timeout=0.4, most=1)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            pool.exchange(("GET", "x" * (1 if is_small else 10_000)))
        assert 0.35 < time.monotonic() - began < 20
        assert pool._free == []


def test_a_server_that_reads_in_drips_holds_nobody_beyond_the_deadline(open_pool: Open) -> None:
    def sip(taken: socket.socket) -> None:
        while not server.ended.wait(0.01):
            taken.recv(10_000)

    with ScriptedServer(sip) as server:
        pool = open_pool(server, timeout=0.4, most=1)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            pool.exchange(("SET", "key", b"x" * 30_000_000))
        assert 0.35 < time.monotonic() - began < 20


def test_after_a_reply_in_pieces_the_next_has_the_whole_timeout_again(open_pool: Open) -> None:
    def talk(taken: socket.socket) -> None:
        while taken.recv(1000):
            taken.sendall(b"$4\r\n")
            server.ended.wait(0.3)
            taken.sendall(b"done\r\n")

    with ScriptedServer(talk) as server:
        pool = open_pool(server, timeout=0.5, most=1)
        for _ in range(4):
            assert pool.exchange(("GET", "key")) == b"done"
        assert server.connections == 1


@pytest.mark.parametrize(
    "options", [{"credentials": lambda: ("password",)}, {"database": 1}, {"client_name": "name"}]
)
def test_a_server_that_drips_its_welcome_holds_nobody_beyond_the_deadline(
    open_pool: Open, options: dict[str, Any]
) -> None:
    def drip(taken: socket.socket) -> None:
        taken.sendall(b"+")
        while not server.ended.wait(0.05):
            taken.sendall(b"x")

    with ScriptedServer(drip) as server:
        pool = open_pool(server, connect_timeout=0.4, most=1, **options)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            pool.exchange(("PING",))
        assert 0.35 < time.monotonic() - began < 20
        # Its place is free again.
        with pytest.raises(TimeoutError):
            pool.exchange(("PING",))


@pytest.mark.parametrize("spoken", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+OK\r\n", b""])
def test_what_is_no_single_reply_closes_the_line(open_pool: Open, spoken: bytes) -> None:
    def talk(taken: socket.socket) -> None:
        taken.recv(1000)
        taken.sendall(spoken)
        taken.shutdown(socket.SHUT_WR)

    with ScriptedServer(talk) as server:
        pool = open_pool(server, most=1)
        for _ in range(2):
            with pytest.raises(ProtocolError if spoken else ConnectionResetError):
                pool.exchange(("PING",))
        assert pool._free == []
        assert server.connections == 2


def test_a_lost_connection_is_told_and_takes_the_other_free_ones_with_it(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=5)
    opened_at_once(pool, 5)
    kill_all(own_redis)
    with pytest.raises(ConnectionError):
        pool.exchange(("PING",))
    assert pool._free == []
    assert opened_at_once(pool, 5) == 5


def opened_at_once(pool: ConnectionPool, number: int) -> int:
    """Hold *number* connections at once, and return how many are free after that."""
    threads = [
        threading.Thread(target=pool.exchange, args=(("BLPOP", "nothing", "0.2"),))
        for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return len(pool._free)


def test_a_hanging_server_costs_its_timeout_and_nobody_gets_the_late_answer(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, timeout=0.2, most=1)
    assert echoed(pool, b"before")
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("CLIENT", "PAUSE", "600", "ALL")
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            pool.exchange(("ECHO", "late"))
        assert 0.15 < time.monotonic() - began < 20
    time.sleep(0.5)
    for number in range(20):
        assert echoed(pool, str(number).encode())


def test_more_threads_than_lines_all_get_their_own_answers(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=4, timeout=20, patience=60)

    def ask(thread: int) -> bool:
        return all(echoed(pool, f"{thread}-{number}".encode()) for number in range(200))

    with ThreadPoolExecutor(40) as threads:
        assert all(threads.map(ask, range(40)))
    assert connections_of(own_redis) <= 4
    assert not pool._queue


def wait_for_queue(pool: ConnectionPool, length: int) -> None:
    within_deadline(lambda: len(pool._queue) == length)


def test_who_waits_is_served_before_who_comes_later(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=1, timeout=20, patience=60)
    served: list[int] = []

    def ask(number: int) -> None:
        pool.exchange(("PING",))
        served.append(number)

    own_redis.pause()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for waiting, thread in enumerate(threads):
        thread.start()
        if waiting:
            wait_for_queue(pool, waiting)
        else:
            within_deadline(lambda: pool._known)
    own_redis.resume()
    for thread in threads:
        thread.join(30)
    # Two may be overtaken between their reply and their note of it.
    assert sorted(served) == list(range(20))
    assert all(abs(number - place) <= 2 for place, number in enumerate(served))


def test_who_finds_no_free_line_waits_no_longer_than_its_patience(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=1, timeout=20, patience=0.3)
    pool.exchange(("PING",))
    own_redis.pause()
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(pool.exchange, ("PING",))
        within_deadline(lambda: not pool._free)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                pool.exchange(("PING",))
            assert 0.25 < time.monotonic() - began < 15
            assert caught.value.kind is OutageKind.OVERLOADED
            assert caught.value.__context__ is None
        own_redis.resume()
        assert hanging.result(30) == b"PONG"
    assert not pool._queue


def test_a_line_that_is_lost_in_use_makes_room_for_who_waits(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=2, timeout=20, patience=60)

    def ask(_number: int) -> bool:
        for _ in range(50):
            with contextlib.suppress(ConnectionError):
                pool.exchange(("PING",))
        return True

    with ThreadPoolExecutor(20) as threads:
        working = [threads.submit(ask, number) for number in range(20)]
        while not all(one.done() for one in working):
            kill_all(own_redis)
        assert all(one.result() for one in working)
    assert not pool._queue
    # The last ones may have been killed while they were free.
    pool.close()
    assert opened_at_once(pool, 2) == 2


def test_closing_closes_the_free_now_and_those_in_use_when_they_come_back(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=2, timeout=20)
    opened_at_once(pool, 2)
    with ThreadPoolExecutor(1) as threads:
        used = threads.submit(pool.exchange, ("BLPOP", "list", "0"))
        within_deadline(lambda: len(pool._free) == 1)
        pool.close()
        within_deadline(lambda: connections_of(own_redis) == 1)
        with redis.Redis.from_url(own_redis.url) as client:
            client.rpush("list", "item")
        assert used.result(30) == [b"list", b"item"]
    within_deadline(lambda: connections_of(own_redis) == 0)
    assert echoed(pool, b"after")


class Interrupted(BaseException):
    pass


def interrupt(*_: object) -> None:
    raise Interrupted


@pytest.fixture
def interruptions() -> Iterator[None]:
    """Let SIGALRM raise."""
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# A socket that was opened and not yet put down anywhere is left to the garbage collector.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
# What is raised in a finalizer goes nowhere.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("threads", [0, 3])
def test_a_signal_that_raises_anywhere_leaves_nobody_anothers_answer_and_loses_no_place(
    own_redis: RedisServer, open_pool: Open, interruptions: None, threads: int
) -> None:
    pool = open_pool(own_redis, most=2, timeout=20, patience=20)
    dice = random.Random(7)
    over = threading.Event()

    def ask(name: int) -> bool:
        number = 0
        while not over.is_set():
            number += 1
            if not echoed(pool, f"{name}-{number}".encode()):
                return False
        return True

    interrupted, wrong = 0, []
    with ThreadPoolExecutor(4) as others:
        asking = [others.submit(ask, name) for name in range(threads)]
        for number in range(4000):
            if number % 500 == 0:
                # It has to connect, too.
                pool.close()
            text = f"main-{number}".encode()
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.000_001, 0.000_2))
                reply = pool.exchange(("ECHO", text))
                if reply != text:
                    wrong.append((text, reply))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupted += 1
            finally:
                with contextlib.suppress(Interrupted):
                    signal.setitimer(signal.ITIMER_REAL, 0)
        over.set()
        assert all(one.result(60) for one in asking)
    assert wrong == []
    assert interrupted > 400
    assert not pool._queue
    gc.collect()
    assert opened_at_once(pool, 2) == 2
    within_deadline(lambda: connections_of(own_redis) == 2)


def test_a_signal_to_one_that_waits_lets_the_next_have_its_place(
    own_redis: RedisServer, open_pool: Open, interruptions: None
) -> None:
    pool = open_pool(own_redis, most=1, timeout=20, patience=20)
    pool.exchange(("PING",))
    with ThreadPoolExecutor(2) as threads:
        for _ in range(20):
            holding = threads.submit(pool.exchange, ("BLPOP", "list", "0"))
            within_deadline(lambda: not pool._free)
            with pytest.raises(Interrupted):  # noqa: PT012  (it may come in between)
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                pool.exchange(("PING",))
            waiting = threads.submit(pool.exchange, ("PING",))
            with redis.Redis.from_url(own_redis.url) as client:
                client.rpush("list", "item")
            assert holding.result(30) == [b"list", b"item"]
            assert waiting.result(30) == b"PONG"
    assert not pool._queue
    assert len(pool._free) == 1


def test_a_traceback_that_somebody_keeps_keeps_no_place(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=1, timeout=0.05, patience=0.05)
    kept = []
    own_redis.pause()
    for _ in range(3):
        with pytest.raises(TimeoutError) as caught:
            pool.exchange(("PING",))
        kept.append(caught.value)
    own_redis.resume()
    pool = open_pool(own_redis, most=1, patience=0.05)
    assert pool.exchange(("PING",)) == b"PONG"


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_its_own_and_leaves_its_parents_alone(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=2, timeout=20)
    opened_at_once(pool, 2)
    free = list(pool._free)
    with ThreadPoolExecutor(2) as threads:
        used = threads.submit(pool.exchange, ("BLPOP", "list", "0"))
        within_deadline(lambda: len(pool._free) == 1)
        waiting = [threads.submit(pool.exchange, ("BLPOP", "list", "0"))]
        within_deadline(lambda: not pool._free)
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                right = all(echoed(pool, f"child-{n}".encode()) for n in range(50))
                right = right and not set(pool._free) & set(free)
                pool.close()
                gc.collect()
                status = 0 if right else 1
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with redis.Redis.from_url(own_redis.url) as client:
            client.rpush("list", "one", "other")
        answers = [one.result(30) for one in (used, *waiting)]
    assert sorted(answers) == [[b"list", b"one"], [b"list", b"other"]]
    assert set(pool._free) == set(free)
    assert connections_of(own_redis) == 2


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_process_that_is_forked_while_another_thread_holds_the_lock_is_served(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, most=1)
    with pool._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if echoed(pool, b"child") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert echoed(pool, b"parent")


def test_the_common_way_sets_no_limit_of_time(newest_redis: RedisServer, open_pool: Open) -> None:
    pool = open_pool(newest_redis, most=1)
    pool.exchange(("PING",))
    (connection,) = pool._free
    limits: list[float] = []
    connection._limit = limits.append
    assert echoed(pool, b"x" * 7000)
    assert limits == []


def test_a_socket_that_cannot_block_has_pythons_limits_of_time(
    newest_redis: RedisServer, open_pool: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As gevent's.
    monkeypatch.setattr(os, "get_blocking", lambda _descriptor: False)
    pool = open_pool(newest_redis, most=1, timeout=0.2)
    assert echoed(pool, b"x" * 100_000)
    (connection,) = pool._free
    assert connection._socket is not None
    assert connection._socket.gettimeout() == 0.2
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        pool.exchange(("BLPOP", "nothing", "0"))
    assert 0.15 < time.monotonic() - began < 20


def test_a_host_with_a_dead_address_is_reached_at_its_other_one(
    newest_redis: RedisServer, open_pool: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket.getaddrinfo

    def find(host: str, port: int, **options: Any) -> Any:
        return [*found("127.0.0.1", 1, **options), *found(host, port, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    assert echoed(open_pool(newest_redis), b"there")


def test_a_closed_line_is_seen_as_closed_by_the_server(
    own_redis: RedisServer, open_pool: Open
) -> None:
    pool = open_pool(own_redis, timeout=0.1)
    with pytest.raises(TimeoutError):
        pool.exchange(("BLPOP", "nothing", "0"))
    within_deadline(lambda: connections_of(own_redis) == 0)
    assert select.select([], [], [], 0) == ([], [], [])
