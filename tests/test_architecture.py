"""What holds for the package as a whole: its shape, not what it does.

Which layer may import which is checked by import-linter (``lint-imports``).
"""

from __future__ import annotations

import ast
import asyncio
import collections
import functools
import importlib
import inspect
import re
import subprocess
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import pytest
from django.contrib.sessions.backends.base import SessionBase

import django_multisession
from django_multisession.drivers.base import (
    Ask,
    Driver,
    Enumerable,
    Indexed,
    Page,
    Purging,
    Server,
    Steps,
    is_indexed,
)
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.store import DriverSessionStore
from django_multisession.testing.rows import for_each

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(django_multisession.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ENGINES = sorted(path.stem for path in PACKAGE.glob("engines/[!_]*.py"))
DRIVERS = (
    "cookie.driver.CookieDriver",
    "cookie.revocable.RevocableDriver",
    "memory.MemoryDriver",
    "redis.driver.RedisDriver",
    "mongodb.driver.MongoDBDriver",
    "memcached.driver.MemcachedDriver",
    "database.driver.DatabaseDriver",
    "tiered.driver.TieredDriver",
)

#: They do no I/O, so they block no event loop.
VERBS_WITHOUT_IO = {
    "clear",
    "cookie_age",
    "decode",
    "encode",
    "get_driver",
    "get_namespace",
    "get_session_cookie_age",
    "is_empty",
    # Called by the runner of the steps, in both worlds.
    "note_answer",
    "offer_keys",
}
#: Twins whose names do not say so.
IRREGULAR_TWINS = {"__setitem__": "aset"}
#: Not twins: one closes every loop's client, the other that of the running loop; one waits for
#: threads, the other for tasks.
UNLIKE_TWINS = {"ClientPerLoop.aclose", "MongoDBServer.aclose", "Turn.aenter"}


def public(owner: type) -> dict[str, Callable[..., Any]]:
    return {
        name: getattr(owner, name)
        for name in dir(owner)
        if not name.startswith("_") and callable(getattr(owner, name))
    }


def twins(owner: type) -> dict[str, str]:
    """Return sync verb → a-twin."""
    names = public(owner)
    regular = {name: f"a{name}" for name in names if f"a{name}" in names}
    return regular | {name: twin for name, twin in IRREGULAR_TWINS.items() if twin in names}


def sync_verbs(owner: type) -> set[str]:
    verbs = public(owner)
    return {name for name, verb in verbs.items() if not inspect.iscoroutinefunction(verb)}


def shape_of(verb: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """Return name, kind and default of every parameter."""
    parameters = inspect.signature(verb).parameters.values()
    return [
        # A bare object() stands for "not given", whichever module made it.
        (
            parameter.name,
            parameter.kind,
            parameter.default if parameter.default.__class__ is not object else ...,
        )
        for parameter in parameters
    ]


def signature_of(verb: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(verb, eval_str=True)


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


@functools.cache
def imported_by(module: str) -> set[str]:
    """Return the modules, and the names in them, that *module* imports."""
    imported = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
            imported |= {f"{node.module}.{name.name}" for name in node.names}
    return imported


# Twins


@for_each(("verb", "twin"), sorted(twins(DriverSessionStore).items()))
def test_a_verb_of_the_store_and_its_twin_take_the_same(verb: str, twin: str) -> None:
    sync, async_ = getattr(DriverSessionStore, verb), getattr(DriverSessionStore, twin)
    assert inspect.iscoroutinefunction(async_)
    assert shape_of(sync) == shape_of(async_)
    if sync.__module__ == async_.__module__ == DriverSessionStore.__module__:
        assert signature_of(sync) == signature_of(async_)


def test_every_verb_of_the_store_that_may_do_io_has_a_twin() -> None:
    assert sync_verbs(DriverSessionStore) - twins(DriverSessionStore).keys() == VERBS_WITHOUT_IO


@for_each("verb", sorted(public(SessionBase)))
def test_a_verb_of_the_store_takes_what_djangos_takes(verb: str) -> None:
    # By the same names: ``await session.aset(key="cart", value=[])`` is Django's API.
    assert shape_of(getattr(DriverSessionStore, verb)) == shape_of(getattr(SessionBase, verb))


def steps_of(owner: type) -> set[str]:
    """Return the verbs of *owner* that are written once, for both ends of a server."""
    return {
        name
        for name, verb in public(owner).items()
        if get_origin(signature_of(verb).return_annotation) is Generator
    }


def test_every_verb_of_a_driver_is_written_once() -> None:
    assert public(Driver).keys() - steps_of(Driver) == {"aclose", "check", "close"}
    assert public(Purging).keys() == steps_of(Purging) == {"purge_expired", "count_expired"}
    assert (
        public(Indexed).keys()
        == steps_of(Indexed)
        == {
            "delete_many",
            "of_user",
            "write_and_get",
        }
    )
    assert public(Enumerable).keys() == steps_of(Enumerable) == {"records"}


def test_a_server_has_a_sync_end_and_an_async_one() -> None:
    assert twins(Server) == {"send": "asend", "close": "aclose"}
    assert public(Server).keys() == {"send", "asend", "close", "aclose"}


@for_each(("verb", "twin"), [("send", "asend"), ("close", "aclose")])
def test_the_two_ends_of_a_server_are_alike(verb: str, twin: str) -> None:
    assert inspect.iscoroutinefunction(getattr(Server, twin))
    assert signature_of(getattr(Server, verb)) == signature_of(getattr(Server, twin))


@for_each("path", DRIVERS)
@for_each("verb", sorted(public(Driver)))
def test_a_driver_has_the_verbs_of_the_contract(path: str, verb: str) -> None:
    of_contract, of_driver = getattr(Driver, verb), getattr(driver_at(path), verb)
    assert inspect.iscoroutinefunction(of_driver) is inspect.iscoroutinefunction(of_contract)
    assert positions_of(of_driver) == positions_of(of_contract)
    assert signature_of(of_driver).return_annotation == signature_of(of_contract).return_annotation


@for_each("path", DRIVERS)
@for_each("protocol", [Purging, Enumerable, Indexed])
def test_a_driver_that_can_do_more_does_it_as_the_contract_says(path: str, protocol: type) -> None:
    driver = driver_at(path)
    for verb in public(protocol).keys() & public(driver).keys():
        assert positions_of(getattr(driver, verb)) == positions_of(getattr(protocol, verb))


@for_each("path", DRIVERS)
def test_a_driver_that_finds_the_sessions_of_a_user_is_indexed(path: str) -> None:
    driver = driver_at(path)
    assert is_indexed(driver) is issubclass(driver, Indexed)  # type: ignore[arg-type]  # it asks for no instance


def driver_at(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(f"django_multisession.drivers.{module}"), name)
    return found


def positions_of(verb: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Return name and type of every parameter: the contract's are positional."""
    parameters = signature_of(verb).parameters.values()
    return [(parameter.name, parameter.annotation) for parameter in parameters]


def twins_with_docstrings() -> Iterator[tuple[str, str, str]]:
    """Yield the path of each a-twin, the verb it stands beside, and its docstring."""
    for module in MODULES:
        tree = tree_of(module)
        scopes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.Module)]
        for scope in scopes:
            sync = {node.name for node in scope.body if isinstance(node, ast.FunctionDef)}
            for node in scope.body:
                verb = node.name[1:] if isinstance(node, ast.AsyncFunctionDef) else ""
                if isinstance(node, ast.AsyncFunctionDef) and node.name == f"a{verb}":
                    docstring, owner = ast.get_docstring(node), getattr(scope, "name", module)
                    path = f"{owner}.{node.name}"
                    if verb in sync and docstring is not None and path not in UNLIKE_TWINS:
                        yield path, verb, docstring


def test_a_twin_is_documented_where_its_verb_is() -> None:
    twins = list(twins_with_docstrings())
    assert len(twins) > 50
    for path, verb, docstring in twins:
        assert docstring.startswith((f"See {verb}().", f"See {verb}();")), path


# Sync verbs do their I/O synchronously, a-verbs asynchronously.


class WrongWay(BaseException):
    """A sync verb awaited, or an a-verb blocked. No Exception: nothing handles it."""


class OneWayServer:
    """Answers by one of a server's two ends; the other one is poison."""

    def __init__(self, server: Server, *, is_async: bool) -> None:
        self._server = server
        self._is_async = is_async

    def send(self, command: Any, /) -> Any:
        if self._is_async:
            raise WrongWay("send")
        return self._server.send(command)

    async def asend(self, command: Any, /) -> Any:
        if not self._is_async:
            raise WrongWay("asend")
        return await self._server.asend(command)

    def close(self) -> None:
        self._server.close()

    async def aclose(self) -> None:
        await self._server.aclose()


class OneWayDriver:
    """A driver in memory whose server is a `OneWayServer`; notes what it is asked."""

    capabilities = MemoryDriver.capabilities

    def __init__(self, driver: MemoryDriver, *, is_async: bool) -> None:
        self._driver = driver
        self._server = OneWayServer(driver.server, is_async=is_async)
        self.asked: set[str] = set()

    # Of the class, as `isinstance(driver, Purging)` asks it since Python 3.12.

    def purge_expired(self, now: int, limit: int) -> Steps[int]:
        return self._sent("purge_expired", self._driver.purge_expired(now, limit))

    def count_expired(self, now: int) -> Steps[int]:
        return self._sent("count_expired", self._driver.count_expired(now))

    def of_user(self, *arguments: Any, **page: Any) -> Steps[Page]:
        return self._sent("of_user", self._driver.of_user(*arguments, **page))

    def write_and_get(self, write: Steps[Any], key: str) -> Steps[Any]:
        return self._sent("write_and_get", self._driver.write_and_get(write, key))

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._driver, verb)
        return lambda *arguments: self._sent(verb, method(*arguments))

    def _sent(self, verb: str, steps: Steps[Any]) -> Steps[Any]:
        self.asked.add(verb)
        command = next(steps).command
        while True:
            reply = yield Ask(self._server, verb, command)
            try:
                command = steps.send(reply).command
            except StopIteration as stop:
                return stop.value


def store_over(driver: Any) -> type[DriverSessionStore]:
    class SessionStore(DriverSessionStore):
        @classmethod
        def get_driver(cls) -> Driver:
            return driver  # type: ignore[no-any-return]  # that is what a test makes it

    return SessionStore


def stored_session(driver: Driver) -> str:
    session = store_over(driver)()
    session.set_test_cookie()
    session["cart"] = [1]
    session["_auth_user_id"] = "7"
    session.save()
    assert session.session_key is not None
    return session.session_key


#: Arguments of the verbs that need some.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "__setitem__": ("name", 1),
    "get": ("cart",),
    "has_key": ("cart",),
    "pop": ("cart",),
    "set_expiry": (300,),
    "setdefault": ("name", 1),
    "update": ({"name": 1},),
}


@for_each("verb", sorted(twins(DriverSessionStore)))
def test_a_verb_of_the_store_awaits_no_answer_of_a_server(verb: str, settings: Settings) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True  # so that respond() has something to ask
    memory = MemoryDriver()
    session_key = stored_session(memory)
    driver = OneWayDriver(memory, is_async=False)
    arguments = (session_key,) if verb == "exists" else ARGUMENTS.get(verb, ())
    getattr(store_over(driver)(session_key), verb)(*arguments)
    assert driver.asked


@for_each(("verb", "twin"), sorted(twins(DriverSessionStore).items()))
def test_an_a_verb_of_the_store_waits_for_no_answer_of_a_server(
    verb: str, twin: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True  # as above
    # Django's guard would refuse what the poison is to find.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    memory = MemoryDriver()
    session_key = stored_session(memory)
    driver = OneWayDriver(memory, is_async=True)
    arguments = (session_key,) if verb == "exists" else ARGUMENTS.get(verb, ())
    asyncio.run(getattr(store_over(driver)(session_key), twin)(*arguments))
    assert driver.asked


#: What a session asks of its driver from its first save to its end.
LIFE = {"add", "get", "replace", "move", "touch", "delete", "purge_expired"} | {"write_and_get"}


def test_a_whole_life_of_a_session_is_sent_by_the_sync_end(clock: Clock) -> None:
    driver = OneWayDriver(MemoryDriver(), is_async=False)
    store = store_over(driver)
    session = store()
    session["cart"] = [1]
    session.save()
    clock.advance(timedelta(hours=1))
    session = store(session.session_key)
    session.get("cart")
    session.save()
    session["cart"].append(2)
    session.save()
    session["_auth_user_id"] = "7"
    session.save()
    session.flush()
    store.clear_expired()
    assert driver.asked == LIFE


def test_a_whole_life_of_a_session_is_sent_by_the_async_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    driver = OneWayDriver(MemoryDriver(), is_async=True)
    store = store_over(driver)

    async def live() -> None:
        session = store()
        await session.aset("cart", [1])
        await session.asave()
        clock.advance(timedelta(hours=1))
        session = store(session.session_key)
        cart: Any = await session.aget("cart")
        await session.asave()
        cart.append(2)
        await session.asave()
        await session.aset("_auth_user_id", "7")
        await session.asave()
        await session.aflush()
        await store.aclear_expired()

    asyncio.run(live())
    assert driver.asked == LIFE


# Engines


@for_each("name", ENGINES)
def test_an_engine_exposes_session_store_and_nothing_else(name: str) -> None:
    engine = importlib.import_module(f"django_multisession.engines.{name}")
    assert engine.__all__ == ["SessionStore"]
    assert issubclass(engine.SessionStore, DriverSessionStore)


@for_each("name", ENGINES)
def test_the_store_of_an_engine_is_called_what_django_salts_by(name: str) -> None:
    store = importlib.import_module(f"django_multisession.engines.{name}").SessionStore
    assert store.__qualname__ == "SessionStore"
    assert store().key_salt == "django.contrib.sessions.SessionStore"


@for_each("name", ENGINES)
def test_an_engine_says_which_driver_and_little_else(name: str) -> None:
    lines = (PACKAGE / "engines" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 65


# Layers


def is_below_conf(module: str) -> bool:
    return module.startswith(("core/", "drivers/", "settings/rules/")) or module in {
        "exceptions.py",
        "resolvers.py",
        "settings/check_ids.py",
        "settings/reader.py",
        "settings/values.py",
    }


@for_each("module", [module for module in MODULES if is_below_conf(module)])
def test_nothing_below_conf_reads_settings_or_the_time_of_day(module: str) -> None:
    assert not imported_by(module) & {
        "django.conf",
        "django.conf.settings",
        "django.utils.timezone",
        "django.utils.timezone.now",
        "time.time",
        "time.time_ns",
    }
    asked = {
        node.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"datetime", "date", "timezone", "time"}
    }
    assert not asked & {"now", "utcnow", "today", "time", "time_ns"}


def test_only_conf_reads_settings() -> None:
    readers = {module for module in MODULES if "django.conf.settings" in imported_by(module)}
    assert {module for module in readers if not module.startswith("testing/")} == {
        "settings/conf.py"
    }


def test_every_id_of_a_check_is_given_once() -> None:
    ids = collections.Counter(
        node.value.removeprefix("multisession.")
        for module in MODULES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"(multisession\.)?[CDEIW]\d{3}", node.value)
    )
    assert len(ids) > 10
    assert {check_id for check_id, times in ids.items() if times > 1} == set()


# The repository

#: A directory of one machine.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:root|home|Users|work)/\w|\b[A-Z]:\\Users")
#: A package index that only some machine reaches, or that a file would bind every user to.
REGISTRY = re.compile(
    r"(?i)(?:index[-_]url|find[-_]links|registry)[\"']?\s*[=:\s]\s*[\"']?https?://"
    r"|https?://(?!pypi\.org/project/)[^/\s\"'<>]*"
    r"(?:pypi|registry|artifactory|nexus|mirror|devpi|npmjs)"
    r"|https?://(?:[^/\s\"'@]*@)?(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\."
    r"|https?://[\w.-]+\.(?:internal|local|lan|corp|intranet)\b"
)


def files_of_the_repository() -> list[Path]:
    """Return what is tracked, and what would be at the next ``git add``."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, check=True, timeout=60, text=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("git, or its repository, is not here")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@for_each("pattern", [MACHINE_PATH, REGISTRY], ids=["path", "registry"])
def test_no_file_names_a_machines_path_or_registry(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {match.group()}"
        for path in files_of_the_repository()
        for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@for_each(
    ("pattern", "text"),
    # Written in parts, or this file would be found.
    [
        (MACHINE_PATH, '"' + "/root" + '/project"'),
        (MACHINE_PATH, "cd " + "/home" + "/ada/project"),
        (MACHINE_PATH, "C:" + "\\Users\\ada"),
        (REGISTRY, "pip install --index-url " + "https:" + "//packages.example/simple"),
        (REGISTRY, "https:" + "//pypi.example.com/simple"),
        (REGISTRY, "https:" + "//me:secret@10.1.2.3/simple"),
        (REGISTRY, "http:" + "//packages.internal/"),
    ],
)
def test_a_machines_path_or_registry_would_be_found(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_nothing_imports_what_moves_in_djangos_next_release() -> None:
    # Django 6.2 has MiddlewareMixin in django.middleware, and warns of the old place.
    old = re.compile(r"^\s*(?:from|import) django\.utils\.deprecation\b", re.MULTILINE)
    folders = ("django_multisession", "docs", "testproject", "tests")
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.*")]
    read = {path: path.read_text("utf-8") for path in paths if path.suffix in {".md", ".py"}}
    found = [path.relative_to(REPOSITORY).as_posix() for path in read if old.search(read[path])]
    assert found == ["tests/djangos.py"]
