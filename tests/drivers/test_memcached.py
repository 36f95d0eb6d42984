"""What is memcached's own: expiry, tokens, several servers, sizes, eviction, what check() finds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from servers import MemcachedServer

from django_multisession.core.records import (
    NEVER,
    SAVED,
    SLACK_MS,
    TOMBSTONE_MS,
    Found,
    Record,
    Tombstone,
)
from django_multisession.drivers.memcached.driver import MemcachedDriver
from django_multisession.drivers.memcached.expiry import LAST_MOMENT, LONGEST_SPAN, expiry_of
from django_multisession.exceptions import OutageKind, SessionTooLarge, StoreUnavailable
from django_multisession.testing.driver.fixtures import (
    DAY,
    NOW,
    SECOND,
    left_by,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.drivers.memcached_driving import Driving, OnUnixSocket, looking, seconds_left
from tests.engine_fixtures import places_of, use_engine
from tests.proxy import TCPProxy

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

#: Made of pieces: an error mail shows the lines of files.
PASSWORD = "-".join(["hunter"] * 3)
MACHINE_NOW = 1_780_000_000


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
def driver(driving: Driving, memcached: MemcachedServer) -> MemcachedDriver:
    return driving.open(memcached, KEY_PREFIX="laws:")


# Expiry


@for_each(
    ("life", "expiry"),
    [
        (SLACK_MS, 61),
        (SLACK_MS + 999, 61),
        ((LONGEST_SPAN - 1) * SECOND, LONGEST_SPAN),
        (LONGEST_SPAN * SECOND, MACHINE_NOW + LONGEST_SPAN + 1),
        (365 * DAY, MACHINE_NOW + 365 * 24 * 3600 + 1),
        # memcached counts to January 2038.
        ((LAST_MOMENT - MACHINE_NOW - 1) * SECOND, LAST_MOMENT),
        ((LAST_MOMENT - MACHINE_NOW) * SECOND, 0),
        (NEVER, 0),
    ],
)
def test_a_life_is_sent_as_memcached_takes_it(life: int, expiry: int) -> None:
    assert expiry_of(life, lambda: MACHINE_NOW) == expiry


@for_each(
    ("changes", "seconds"),
    [
        ({"idle_ms": 10 * 60 * SECOND}, 660),
        ({"idle_ms": 60 * DAY, "deadline_ms": NEVER}, 60 * 24 * 3600 + 60),
        ({"idle_ms": NEVER, "deadline_ms": NEVER}, -1),
        # memcached counts to 2038, and keeps what lives longer.
        ({"idle_ms": 36500 * DAY, "deadline_ms": NEVER}, -1),
    ],
)
def test_memcached_keeps_a_record_a_minute_longer_than_it_lives(
    driving: Driving,
    driver: MemcachedDriver,
    memcached: MemcachedServer,
    changes: dict[str, Any],
    seconds: int,
) -> None:
    key, record = make_key(), make_record(**changes)
    driving.ask(driver, "add", key, record)
    left = seconds_left(memcached, f"laws:{key}")
    assert is_near(left, seconds)
    mine = next_write(record)
    assert driving.ask(driver, "replace", key, mine, record, NOW) == SAVED
    left = seconds_left(memcached, f"laws:{key}")
    assert is_near(left, seconds)


def is_near(left: int, seconds: int) -> bool:
    # On a slow machine less; memcached's own clock is two seconds behind.
    return left == seconds if seconds < 0 else seconds - 60 <= left <= seconds + 3


def test_memcached_keeps_a_tombstone_for_a_minute(
    driving: Driving, driver: MemcachedDriver, memcached: MemcachedServer
) -> None:
    key, other, record = make_key(), make_key(), make_record()
    driving.ask(driver, "add", key, record)
    driving.ask(driver, "delete", key, make_end())
    driving.ask(driver, "add", other, record)
    driving.ask(driver, "retire", other, record, make_end(), NOW, NEVER)
    for each in (key, other):
        assert 0 < seconds_left(memcached, f"laws:{each}") <= TOMBSTONE_MS // SECOND + 1


# Commands


@pytest.fixture
def proxy(memcached: MemcachedServer) -> Iterator[TCPProxy]:
    with TCPProxy(memcached.host, memcached.port) as proxy:
        yield proxy


def test_a_verb_over_what_was_read_is_one_command(driving: Driving, proxy: TCPProxy) -> None:
    driver, key, new = driving.open(proxy), make_key(), make_key()
    record = make_record()
    later = NOW + 5 * SECOND

    def commands_of(verb: str, *arguments: Any) -> list[str]:
        proxy.reset()
        driving.ask(driver, verb, *arguments)
        return proxy.commands

    assert commands_of("add", key, record) == ["add"]
    assert commands_of("get", key) == ["gets"]
    read = driving.ask(driver, "get", key)
    assert commands_of("touch", key, read, later, later) == ["cas"]
    read = driving.ask(driver, "get", key)
    mine = next_write(read, touched_ms=later)
    assert commands_of("replace", key, mine, read, later) == ["cas"]
    # What was written has no token.
    again = next_write(mine)
    assert commands_of("replace", key, again, mine, later) == ["gets", "cas"]
    read = driving.ask(driver, "get", key)
    moved = next_write(read)
    left = left_by(moved, new)
    assert commands_of("move", key, new, moved, read, left, later) == ["add", "cas"]
    assert commands_of("delete", new, make_end()) == ["gets", "cas"]
    # The token of what has gone is no reason to look twice.
    assert commands_of("replace", new, next_write(moved), moved, later) == ["gets"]


def test_another_token_over_the_same_revision_is_read_again(
    driving: Driving, proxy: TCPProxy
) -> None:
    driver, key, record = driving.open(proxy), make_key(), make_record()
    later = NOW + 5 * SECOND
    driving.ask(driver, "add", key, record)
    read = driving.ask(driver, "get", key)
    driving.ask(driver, "touch", key, record, later, later)
    proxy.reset()
    mine = next_write(read, touched_ms=later)
    assert driving.ask(driver, "replace", key, mine, read, later) == SAVED
    assert proxy.commands == ["cas", "gets", "cas"]


def test_what_was_made_of_a_read_record_has_no_token(
    driving: Driving, driver: MemcachedDriver
) -> None:
    key = make_key()
    driving.ask(driver, "add", key, make_record())
    read = driving.ask(driver, "get", key)
    assert isinstance(read, Found)
    assert read.token is not None
    made = read._replace(touched_ms=NOW + 1)
    assert isinstance(made, Record)
    assert getattr(made, "token", None) is None


# Several servers


def test_each_key_has_one_memcached_and_keeps_it_when_another_is_added(driving: Driving) -> None:
    servers = [driving.start() for _ in range(3)]
    driver = driving.open(*servers[:2], KEY_PREFIX="laws:")
    # In another order it is the same.
    same = driving.open(*reversed(servers[:2]), KEY_PREFIX="laws:")
    more = driving.open(*servers, KEY_PREFIX="laws:")
    records = {make_key(): make_record() for _ in range(60)}
    for key, record in records.items():
        driving.ask(driver, "add", key, record)
    for key, record in records.items():
        assert driving.ask(same, "get", key) == record
    counts = [items_of(server) for server in servers]
    assert sum(counts) == len(records)
    assert min(counts[:2]) > 10
    kept = [key for key in records if driving.ask(more, "get", key) is not None]
    # Two thirds, more or less; the rest is where the new one would have it.
    assert 25 < len(kept) < 55


def test_many_records_are_read_and_ended_in_one_command_wherever_they_lie(driving: Driving) -> None:
    driver = driving.open(*[driving.start() for _ in range(2)])
    keys = [make_key() for _ in range(60)]
    records = {
        key: make_record(user=b"8" if number % 3 else b"7") for number, key in enumerate(keys)
    }
    for key, record in records.items():
        driving.ask(driver, "add", key, record)
    absent = make_key()
    found = driving.ask(driver, "get_many", [*keys, absent])
    assert found == [*records.values(), None]
    left = make_end()
    ending = driver.delete_many([*keys, absent], left, user_id="7")
    answers = driving.carry_out(ending)
    assert answers == [*(each.user == b"7" for each in records.values()), False]
    ended = driving.ask(driver, "get_many", keys)
    assert [each == left for each in ended] == answers[:-1]
    assert driving.ask(driver, "get_many", []) == driving.ask(driver, "delete_many", [], left) == []


def test_the_keys_of_a_lost_memcached_are_an_outage_and_no_other_takes_them(
    driving: Driving,
) -> None:
    servers = [driving.start() for _ in range(2)]
    driver = driving.open(*servers)
    records = {make_key(): make_record() for _ in range(20)}
    for key, record in records.items():
        driving.ask(driver, "add", key, record)
    lost, there = servers
    before = items_of(there)
    lost.stop()
    outcomes = {key: outcome_of(driving, driver, key, records[key]) for key in records}
    assert set(outcomes.values()) == {SAVED, OutageKind.UNREACHABLE}
    assert list(outcomes.values()).count(SAVED) == before
    # New sessions too: their keys would be looked for there.
    added = {outcome_of(driving, driver, make_key(), make_record(), "add") for _ in range(20)}
    assert added == {SAVED, OutageKind.UNREACHABLE}
    lost.start()
    for key, outcome in outcomes.items():
        found = driving.ask(driver, "get", key)
        # It lost them, and only them.
        assert (found is None) is (outcome is OutageKind.UNREACHABLE)


def outcome_of(
    driving: Driving, driver: MemcachedDriver, key: str, record: Record, verb: str = "replace"
) -> Any:
    arguments = (next_write(record), record, NOW) if verb == "replace" else (record,)
    try:
        answer = driving.ask(driver, verb, key, *arguments)
    except StoreUnavailable as error:
        return error.kind
    return SAVED if answer is True else answer


def items_of(server: MemcachedServer) -> int:
    with looking(server) as client:
        return int(client.stats()[b"curr_items"])


# Sizes


def test_a_record_that_is_too_large_is_refused_and_the_stored_one_stays(
    driving: Driving, driver: MemcachedDriver
) -> None:
    key, record = make_key(), make_record()
    driving.ask(driver, "add", key, record)
    large = next_write(record, payload=bytes(1 << 20))
    with pytest.raises(StoreUnavailable, match=r"refused \(object too large for cache\)") as caught:
        driving.ask(driver, "replace", key, large, record, NOW)
    assert caught.value.kind is OutageKind.REFUSED
    assert driving.ask(driver, "get", key) == record


def test_the_largest_record_fits_a_server_with_larger_items_and_longest_key(
    driving: Driving,
) -> None:
    size = 2 * 1024 * 1024
    server = driving.start("-I", str(size))
    driver = driving.open(server, MAX_ITEM_SIZE=size, KEY_PREFIX="p" * 218)
    most = driver.capabilities.largest_record
    assert most is not None
    key = "k" * 32
    empty = make_record(payload=b"")
    record = make_record(payload=bytes(most - len(empty.raw)))
    assert driving.ask(driver, "add", key, record) is True
    assert driving.ask(driver, "get", key) == record


def test_a_session_that_is_too_large_is_told_by_its_biggest_entry_and_nothing_is_sent(
    settings: Settings, running_servers: Running
) -> None:
    engine = use_engine("memcached", settings, running_servers)
    # Random characters, which hardly compress.
    settings.MULTISESSION_MAX_SIZE = 8 * 1024 * 1024
    session = engine.SessionStore()
    session["cart"] = [1]
    session.save()
    session["report"] = "".join(make_key() for _ in range(40_000))
    with pytest.raises(SessionTooLarge, match=r"at most 1048064 bytes as a record.*'report'"):
        session.save()
    del session["report"]
    session["cart"].append(2)
    session.save()
    assert engine.SessionStore(session.session_key)["cart"] == [1, 2]


# Fitness


def test_a_server_without_tokens_is_refused_and_reported(driving: Driving) -> None:
    driver = driving.open(driving.start("-C"))
    key = make_key()
    driving.ask(driver, "add", key, make_record())
    with pytest.raises(StoreUnavailable, match="must run without -C") as caught:
        driving.ask(driver, "get", key)
    assert caught.value.kind is OutageKind.REFUSED
    assert [problem.id for problem in driver.check()] == ["multisession.E144"]


def test_evictions_are_reported(driving: Driving) -> None:
    server = driving.start("-m", "2", "-I", "1m")
    driver = driving.open(server)
    assert driver.check() == []
    record = make_record(payload=bytes(100_000))
    for _ in range(60):
        driving.ask(driver, "add", make_key(), record)
    (problem,) = driver.check()
    assert problem.id == "multisession.W143"
    assert f"{server.host}:{server.port} has evicted" in problem.message


def test_a_full_server_that_evicts_nothing_refuses_new_sessions_and_keeps_the_others(
    driving: Driving,
) -> None:
    driver = driving.open(driving.start("-m", "2", "-M"))
    records = {make_key(): make_record(payload=bytes(100_000)) for _ in range(60)}
    outcomes = {
        key: outcome_of(driving, driver, key, record, "add") for key, record in records.items()
    }
    assert set(outcomes.values()) == {SAVED, OutageKind.REFUSED}
    with pytest.raises(StoreUnavailable, match=r"\(out of memory storing object\)\. Give it more"):
        driving.ask(driver, "add", make_key(), next(iter(records.values())))
    for key, outcome in outcomes.items():
        found = driving.ask(driver, "get", key)
        assert found == (records[key] if outcome is SAVED else None)


def test_smaller_items_than_were_declared_are_reported(
    driving: Driving, memcached: MemcachedServer
) -> None:
    (problem,) = driving.open(memcached, MAX_ITEM_SIZE=4 << 20).check()
    assert problem.id == "multisession.E146"
    assert "1048576" in problem.message


def test_the_check_leaves_nothing_and_asks_each_server(driving: Driving) -> None:
    servers = [driving.start() for _ in range(2)]
    driver = driving.open(*servers)
    assert driver.check() == []
    assert [places_of(server) for server in servers] == [[], []]
    servers[0].stop()
    (problem,) = driver.check()
    assert problem.id == "multisession.W141"
    assert f"127.0.0.1:{servers[0].port} did not answer" in problem.message


def test_a_login_opens_a_server_that_wants_one(driving: Driving, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"shop:{PASSWORD}\n")
    server = driving.start("-Y", str(tmp_path / "users"))
    login = {"USERNAME": "shop", "PASSWORD": PASSWORD}
    key, record = make_key(), make_record()
    driver = driving.open(server, **login)
    assert driving.ask(driver, "add", key, record) is True
    assert driving.ask(driver, "get", key) == record
    assert driver.check() == []
    for wrong, advice in (
        ({}, "Set USERNAME and PASSWORD."),
        (login | {"PASSWORD": "another"}, "Correct USERNAME or PASSWORD."),
    ):
        refused = driving.open(server, **wrong)
        with pytest.raises(StoreUnavailable) as caught:
            driving.ask(refused, "get", key)
        assert caught.value.kind is OutageKind.REFUSED
        assert str(caught.value).endswith(advice)
        (problem,) = refused.check()
        assert problem.id == "multisession.E145"
        assert PASSWORD not in str(caught.value) + problem.message


# Options


@for_each(
    ("options", "told"),
    [
        ({"SERVERS": []}, '"SERVERS"] must be a list of addresses (got list)'),
        ({"SERVERS": f"me:{PASSWORD}@host"}, '"SERVERS"] must be a list of addresses'),
        ({"SERVERS": [f"memcached://me:{PASSWORD}@host"]}, "must be addresses such as"),
        ({"SERVERS": [f"{PASSWORD}:port"]}, "must be addresses such as"),
        ({"SERVERS": ["host:70000"]}, "must be addresses such as"),
        ({"SERVERS": ["::1"]}, "must be addresses such as"),
        ({"SERVERS": [""]}, "(got '')"),
        ({"SERVERS": [None]}, "(got None)"),
        ({"SERVERS": ["a", "a:11211"]}, "one of them twice"),
        ({"KEY_PREFIX": "a b"}, "printable ASCII characters without spaces (got 'a b')"),
        ({"KEY_PREFIX": "a\n"}, "printable ASCII characters without spaces"),
        ({"KEY_PREFIX": "p" * 219}, "at most 218"),
        ({"KEY_PREFIX": b"a"}, "a string (got bytes)"),
        ({"MAX_ITEM_SIZE": 100}, "at least 4096 (got 100)"),
        ({"MAX_ITEM_SIZE": PASSWORD}, "(got str)"),
        ({"OPTIONS": {"ignore_exc": True}}, "(got ignore_exc)"),
        ({"OPTIONS": {"serde": 1, "key_prefix": 1}}, "(got key_prefix, serde)"),
        ({"OPTIONS": {PASSWORD: 1}}, "a name that isn't an option's"),
        ({"OPTIONS": {"timeout": 0}}, "with seconds above 0 as timeout (got 0)"),
        ({"OPTIONS": {"timeout": PASSWORD}}, "as timeout (got str)"),
        ({"OPTIONS": {"connect_timeout": None}}, "as connect_timeout (got NoneType)"),
        ({"OPTIONS": {"tls_context": PASSWORD}}, "an SSLContext as tls_context (got str)"),
        ({"USERNAME": "me"}, '"USERNAME"] must be there with PASSWORD'),
        ({"USERNAME": "m e", "PASSWORD": PASSWORD}, "without a space"),
    ],
)
def test_wrong_options_are_told_without_a_secret(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        MemcachedDriver({"SERVERS": ["127.0.0.1:1"]} | options, lambda: 0)
    assert told in str(caught.value)
    assert PASSWORD not in str(caught.value)


@for_each(
    ("server", "name"),
    [
        ("host", "host:11211"),
        ("host:1", "host:1"),
        ("[::1]", "::1:11211"),
        ("[::1]:12", "::1:12"),
        ("unix:/run/memcached.sock", "/run/memcached.sock"),
        ("/run/memcached.sock", "/run/memcached.sock"),
    ],
)
def test_addresses_are_those_that_django_takes(server: str, name: str) -> None:
    driver = MemcachedDriver({"SERVERS": (server,)}, lambda: 0)
    assert [node.name for node in driver.server.nodes] == [name]


def test_a_unix_socket_is_an_address(driving: Driving, memcached: MemcachedServer) -> None:
    key, record = make_key(), make_record()
    with (
        # A socket's path must be short.
        tempfile.TemporaryDirectory(prefix="mc-") as directory,
        OnUnixSocket(memcached.binary, Path(directory)) as server,
    ):
        driver = driving.open(memcached, SERVERS=[f"unix:{server.path}"])
        assert driving.ask(driver, "add", key, record) is True
        assert driving.ask(driver, "get", key) == record
        assert driver.check() == []


def test_a_tombstone_is_no_base_with_a_token(driving: Driving, driver: MemcachedDriver) -> None:
    key, end = make_key(), make_end()
    driving.ask(driver, "add", key, make_record())
    driving.ask(driver, "delete", key, end)
    found = driving.ask(driver, "get", key)
    assert found == end
    assert type(found) is Tombstone
