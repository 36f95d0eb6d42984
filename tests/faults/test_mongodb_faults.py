"""One mongod that hangs, is killed, comes back empty, takes no writes or is full."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from servers import MongoServer

from django_multisession.drivers.mongodb.server import INDEXES
from django_multisession.engine import close_drivers
from tests.faults.mongodb_load import Load, look_for_the_ended
from tests.faults.mongodb_site import DATABASE, only_reads, refused, site
from tests.web.visits import Visit
from tests.wire.visitor import Visitor, as_visited, session_cookie

pytestmark = pytest.mark.once

#: So that a request learns soon that nobody answers, and that somebody does.
SHORT = {"timeoutMS": 500, "serverSelectionTimeoutMS": 500, "heartbeatFrequencyMS": 500}
PASSWORD = "the right one"

Admin = pymongo.MongoClient[dict[str, Any]]


@pytest.fixture(params=["sync", "async"])
def visitor(request: pytest.FixtureRequest) -> Visitor:
    return Visitor(is_async=request.param == "async")


@pytest.fixture
def server(mongodb_standalone: MongoServer, tmp_path: Path) -> Iterator[MongoServer]:
    with MongoServer(mongodb_standalone.binary, tmp_path / "mongod") as server:
        yield server


@pytest.mark.long
@as_visited
async def test_what_a_hanging_server_was_asked_for_last_it_does_when_it_goes_on_or_never(
    visitor: Visitor, server: MongoServer
) -> None:
    """Read and written in one request: the server hangs between the two."""

    async def save(visit: Visit) -> None:
        name = await visit.session.get("name")
        server.pause()
        await visit.session.set("name", f"{name}, second")

    async def log_in(visit: Visit) -> None:
        await visit.session.get("name")
        server.pause()
        await visit.log_in("ada")

    async def log_out(visit: Visit) -> None:
        await visit.session.get("name")
        server.pause()
        await visit.log_out()

    afterwards: list[tuple[Any, str | None]] = [
        (save, "first, second"),
        # To a key that nobody was told.
        (log_in, None),
        (log_out, None),
    ]
    with site(server.url, SHORT):
        for body, done in afterwards:
            visitor = visitor.stranger()
            await visitor.begin("first")
            try:
                assert refused(await visitor.open(body))
            finally:
                server.resume()
            while refused(response := await visitor.get("read")):
                pass
            assert response.json()["name"] in {"first", done}
            # And the next request is what counts.
            if response.json()["name"] is not None:
                while (response := await visitor.get("write", name="third")).status_code == 503:
                    pass
                found = (await visitor.get("read")).json()["name"]
                assert (response.status_code, found) in {(200, "third"), (400, None)}


@pytest.mark.long
def test_a_server_killed_under_load_has_everything_acknowledged_when_it_starts_again(
    server: MongoServer,
) -> None:
    with site(server.url, SHORT):
        with Load(threads=2, tasks=2) as load:
            load.wait_for_saves(10)
            server.kill()
            # Somebody who logs out tries that until it is answered, and saves nothing meanwhile.
            load.wait_until(lambda one: any("503" in answer for answer in one.notes.answers))
            server.start()
            load.wait_for_saves(10, since=time.monotonic())
        look_for_the_ended(load)
        assert load.wrongs == {}
        assert load.answers["log_out 200"] > 0


@pytest.mark.long
@as_visited
async def test_a_server_that_comes_back_empty_leaves_strangers_and_gets_its_indexes_back(
    visitor: Visitor, server: MongoServer
) -> None:
    with site(server.url, SHORT) as collection:
        await visitor.begin("first")
        server.kill()
        shutil.rmtree(server.directory)
        server.start()
        while (answer := await visitor.copy().get("write", name="second")).status_code == 503:
            pass
        # Not adopted: whoever chose the key would have the session (fixation).
        assert answer.status_code == 200
        assert session_cookie(answer) not in {None, "", visitor.key}
        answer = await visitor.get("read")
        assert (answer.json(), session_cookie(answer)) == ({"name": None}, "")
        # The next process brings them, which clearsessions is too.
        close_drivers()
        await visitor.begin("third")
        with Admin(server.url) as admin:
            indexes = admin[DATABASE][collection].index_information()
        assert {tuple(field for field, _ in index["key"]) for index in indexes.values()} == {
            ("_id",),
            *INDEXES,
        }


def test_a_full_disk_ends_the_server_and_loses_nothing_acknowledged(
    mongodb_standalone: MongoServer, tmp_path: Path
) -> None:
    """No disk is filled: the process may write no file further than its first few bytes."""
    program = tmp_path / "mongod.sh"
    binary = mongodb_standalone.binary
    program.write_text(f'#!/bin/sh\nulimit -c 0\ntrap "" XFSZ\nexec {binary} "$@"\n')
    program.chmod(0o755)

    async def walk(server: MongoServer, visitor: Visitor) -> None:
        await visitor.begin("first")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        assert refused(await visitor.get("write", name="second"))
        # On a busy machine the client gives up on the write before mongod has failed to store it.
        server.wait()
        assert refused(await visitor.get("read"))
        # Somebody has made room.
        server.start()
        name = (await visitor.read_until_well()).json()["name"]
        assert name in {"first", "second"}
        assert (await visitor.get("write", name="after")).status_code == 200
        assert (await visitor.get("read")).json() == {"name": "after"}

    with MongoServer(program, tmp_path / "mongod") as server, site(server.url, SHORT):
        visitor = Visitor(is_async=False)
        visitor.run(walk(server, visitor))


@pytest.mark.long
@as_visited
async def test_a_user_who_may_only_read_costs_the_pages_that_write(
    visitor: Visitor, mongodb_standalone: MongoServer, tmp_path: Path
) -> None:
    with MongoServer(mongodb_standalone.binary, tmp_path / "mongod", "--auth") as server:
        with Admin(server.url) as first:
            # The first user may be made by anybody on the same machine.
            first.admin.command("createUser", "admin", pwd=PASSWORD, roles=["root"])
        with Admin(server.url, username="admin", password=PASSWORD) as admin:
            admin.admin.command(
                "createUser", "site", pwd=PASSWORD, roles=[{"role": "readWrite", "db": DATABASE}]
            )
            with site(server.url, {"username": "site", "password": PASSWORD}):
                await visitor.begin("first")
                reader = [{"role": "read", "db": DATABASE}]
                admin.admin.command("updateUser", "site", roles=reader)
                await only_reads(visitor)
