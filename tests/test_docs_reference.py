"""The reference and the explanations say what the code says: names, tables, numbers, the picture.

What a response gets, and what stock Django does, is played in `tests.web`.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import operator
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymongo
import pytest
import redis
from django.conf import global_settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from servers import RedisServer

import django_multisession
from django_multisession import exceptions, expiry, keys, middleware, records, saving, sealing
from django_multisession import testing as contracts
from django_multisession.drivers import mongodb_documents
from django_multisession.drivers.base import Driver
from django_multisession.drivers.mongodb_connection import INDEXES
from django_multisession.drivers.redis_records import fields_of
from django_multisession.engines.memory import SessionStore
from tests.drivers.redis_fixtures import VERBS, connect, make_record, perform
from tests.engine_fixtures import Engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.drivers.redis_fixtures import Connect

__all__ = ["connect"]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = Path(django_multisession.__file__).parent

NAMED = re.compile(r"`(\w[\w.]*:[\w.]+)`")
NAMED_TESTS = re.compile(r"`(test_\w+)`")
NAMING_PAGES = ("security", "sync-and-async", "what-stock-django-does")


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def section_of(page: str, *headings: str) -> str:
    """Return what stands in *page* under a heading, or one inside of another, up to the next."""
    text = text_of(page)
    for heading in headings:
        level = heading.partition(" ")[0]
        found = re.search(
            rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)",
            text,
            re.DOTALL | re.MULTILINE,
        )
        assert found is not None, heading
        text = found[1]
    return text


def rows_of(text: str, table: int = 0) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    split = re.compile(r"(?<!\\)\|")
    return [
        [cell.strip().replace("\\|", "|") for cell in split.split(line.strip()[1:-1])]
        for line in tables[table].splitlines()
    ]


def code(cell: str) -> str:
    """Return what *cell* has between its first backquotes."""
    found = re.search(r"`([^`]*)`", cell)
    assert found is not None, cell
    return found[1]


# Names


@functools.cache
def names_of_tests() -> frozenset[str]:
    paths = [*(ROOT / "tests").rglob("*.py"), *(PACKAGE / "testing").rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    return frozenset(
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


@pytest.mark.parametrize("page", NAMING_PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = set(NAMED_TESTS.findall(text_of(f"explanation/{page}.md")))
    assert named
    assert named - names_of_tests() == set()


def test_everything_in_the_code_that_the_security_page_names_is_there() -> None:
    named = set(NAMED.findall(text_of("explanation/security.md")))
    assert len(named) > 20
    for name in named:
        module, _, path = name.partition(":")
        operator.attrgetter(path)(importlib.import_module(f"django_multisession.{module}"))


@pytest.mark.parametrize(("page", "columns"), [("security", 3), ("what-stock-django-does", 4)])
def test_every_row_has_its_line_of_evidence(page: str, columns: int) -> None:
    text = text_of(f"explanation/{page}.md")
    sections = [section for section in text.split("\n## ") if "\n|---" in section]
    assert len(sections) > 4
    for section in sections:
        rows = rows_of(section)
        evidence = re.findall(r"^(\d+)\. (.*): (`test_.*)$", section, re.MULTILINE)
        assert all(len(row) == columns and all(row) for row in rows)
        assert [row[0] for row in rows] == [number for number, _where, _tests in evidence]
        for _number, where, tests in evidence:
            assert NAMED.search(where)
            assert NAMED_TESTS.search(tests)


# The driver contract

CONTRACT = "reference/driver-contract.md"


def verbs_of_the_contract() -> Iterator[tuple[str, str, str]]:
    """Yield each sync verb as it is called, its a-twin and what it answers."""
    public = {
        name: verb
        for name, verb in vars(Driver).items()
        if inspect.isfunction(verb) and not name.startswith("_")
    }
    twins = {name for name in public if name[0] == "a" and name[1:] in public}
    for name, verb in public.items():
        if name not in twins:
            signature = inspect.signature(verb)
            parameters = list(signature.parameters.values())[1:]
            taken = ", ".join(f"{each.name}: {each.annotation}" for each in parameters)
            twin = f"a{name}" if f"a{name}" in twins else "none"
            yield f"{name}({taken})", twin, signature.return_annotation


def test_the_verbs_of_a_driver_are_those_of_the_protocol() -> None:
    documented = [
        (code(verb), twin.strip("`"), code(answer))
        for verb, twin, answer, _law in rows_of(section_of(CONTRACT, "## Verbs"))
    ]
    assert documented == list(verbs_of_the_contract())


@pytest.mark.parametrize("value", [records.Record, records.Retired, records.Answer])
def test_the_fields_of_a_value_are_those_of_its_class(value: type) -> None:
    rows = rows_of(section_of(CONTRACT, "## Values", f"### `{value.__name__}`"))
    documented = [(code(name), code(kind)) for name, kind, _means in rows]
    assert documented == [(each.name, each.type) for each in dataclasses.fields(value)]


def test_the_suites_that_hold_a_driver_to_its_contract_are_all_named() -> None:
    rows = rows_of(section_of(CONTRACT, "## What holds a driver to it"))
    suites = {name for name in contracts.__all__ if name.endswith("Contract")}
    assert {code(name) for name, _holds in rows} == suites


@pytest.mark.parametrize(
    ("page", "phrase"),
    [
        (CONTRACT, f"at most {records.REVISIONS_KEPT}; none"),
        (CONTRACT, f"plus {records.EXPIRY_SLACK.seconds} seconds"),
        (CONTRACT, f"a retired one for {records.RETIRED_TIMEOUT.seconds} seconds"),
        (
            "reference/glossary.md",
            f"{keys.LENGTH} characters: {keys._RANDOM_LENGTH} random ones and {keys._TAG_LENGTH}",
        ),
        ("reference/exceptions.md", "eight tries"),
        ("reference/middleware.md", f"`Retry-After: {middleware.RETRY_AFTER}`"),
        ("reference/middleware.md", f"`{middleware.OUTAGE_TEMPLATE}`"),
    ],
)
def test_a_number_in_the_reference_is_that_of_the_code(page: str, phrase: str) -> None:
    assert phrase in text_of(page)
    assert saving.SAVE_TRIES == 8


# Exceptions, log lines, the session's API

EXCEPTIONS = "reference/exceptions.md"


def test_every_exception_is_documented_with_what_else_it_is() -> None:
    ours = [
        each
        for each in vars(exceptions).values()
        if inspect.isclass(each) and each.__module__ == exceptions.__name__
    ]
    expected = {each.__name__: {base.__name__ for base in each.__bases__} for each in ours}
    expected["SessionEnded"] = {UpdateError.__name__, SessionInterrupted.__name__}
    rows = rows_of(section_of(EXCEPTIONS, "## Exceptions"))
    documented = {
        code(name): set(re.findall(r"`(\w+)`", also_a)) for name, also_a, _by, _means in rows
    }
    assert documented == expected


def logged() -> Iterator[tuple[str, str, str]]:
    """Yield logger, level and message of every call of a logger in the package."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=name), attr=level),
                    args=[ast.Constant(value=str(message)), *_],
                ) if name.endswith("logger"):
                    yield getattr(importlib.import_module(module), name).name, level, message


def test_every_log_line_is_documented() -> None:
    rows = rows_of(section_of(EXCEPTIONS, "## Log lines"))
    documented = [(code(logger), level, code(message)) for logger, level, message in rows]
    assert sorted(documented) == sorted(logged())


def test_what_the_session_has_beyond_djangos_is_documented() -> None:
    beyond = {name for name in dir(SessionStore) if not name.startswith("_")} - {*dir(SessionBase)}
    rows = rows_of(section_of(EXCEPTIONS, "## What `request.session` has beyond Django's"))
    documented = {
        code(cell).partition("(")[0]
        for name, twin, _is in rows
        for cell in (name, twin)
        if cell != "none"
    }
    assert documented == beyond - {"modified"}


def test_what_is_djangos_and_different_is_djangos_and_ours() -> None:
    section = section_of(EXCEPTIONS, "## What `request.session` has beyond Django's")
    for cell, _difference in rows_of(section, 1):
        for name in re.findall(r"`(\w+)(?:\(\))?`", cell):
            ours = inspect.getattr_static(SessionStore, name)
            assert name == "modified" or hasattr(SessionBase, name)
            assert ours is not inspect.getattr_static(SessionBase, name, None)


# Settings


def test_every_session_setting_of_djangos_is_documented_with_its_default() -> None:
    rows = rows_of(section_of("reference/settings.md", "## Django's settings"))
    documented = {code(name): ast.literal_eval(code(default)) for name, default, _here in rows}
    assert documented == {
        name: getattr(global_settings, name)
        for name in dir(global_settings)
        if name.startswith("SESSION_")
    }


# Engines

ENGINES = "reference/engines.md"


def names_in(section: str) -> set[str]:
    return {code(row[0]) for row in rows_of(section)}


def test_the_fields_of_a_redis_hash_are_documented() -> None:
    fields = fields_of(make_record())
    documented = names_in(section_of(ENGINES, "## Redis", "### What is stored"))
    assert documented == {*fields[::2]}


def test_the_fields_of_a_mongodb_document_are_documented() -> None:
    documented = names_in(section_of(ENGINES, "## MongoDB", "### What is stored"))
    assert documented == {"_id", "collect_at", *mongodb_documents.fields(make_record())}


def test_the_indexes_of_mongodb_are_documented() -> None:
    rows = rows_of(section_of(ENGINES, "## MongoDB", "### Indexes"))
    documented = {code(name): options.strip("`") for name, options in rows}
    spelled = {
        name: re.sub(r"'([$\w]+)':", r"\1:", str(how)[1:-1]).replace("'", '"') or "none"
        for name, how in INDEXES.items()
    }
    assert documented == spelled


def test_every_check_that_a_page_names_exists() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"`(multisession\.[EW]\d{3})`", page.read_text(encoding="utf-8")):
            assert f'"{name}"' in sources or f'"{name.partition(".")[2]}"' in sources, (page, name)


RIGHTS = section_of(ENGINES, "## Redis", "### Commands and rights")


def perform_every_verb(driver: Any) -> None:
    for number, verb in enumerate(VERBS):
        for idle_age in (600, None):
            record = make_record(idle_age=idle_age, hard_deadline_at=None)
            key = f"{number}-{idle_age}"
            assert driver.add(key, record)
            perform(lambda call, *arguments: call(*arguments), driver, verb, record, key)


def test_a_user_of_redis_needs_the_documented_rights_and_no_others(
    newest_redis: RedisServer, connect: Connect
) -> None:
    block = re.search(r"```text\n(.*)\n```", RIGHTS)
    assert block is not None
    commands = block[1].split()
    url = newest_redis.url.replace("://", "://documented:secret@")
    with redis.Redis.from_url(newest_redis.url) as admin:

        def works(granted: Iterable[str]) -> bool:
            rule = ["reset", "on", ">secret", "~test-*", *granted]
            admin.execute_command("ACL", "SETUSER", "documented", *rule)
            # A script that is known already would not be spelled out.
            admin.script_flush()
            driver = connect(Address(url))
            try:
                perform_every_verb(driver)
            except exceptions.StoreUnavailable:
                return False
            return driver.check() == []

        try:
            assert works(commands)
            for command in commands:
                assert not works(each for each in commands if each != command), command
        finally:
            admin.execute_command("ACL", "DELUSER", "documented")


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a driver connects to."""

    url: str


# The middleware


def test_the_methods_of_the_middleware_are_documented() -> None:
    own = {
        name
        for name, value in vars(middleware.SessionMiddleware).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    rows = rows_of(section_of("reference/middleware.md", "## Subclassing"))
    for call, _does in rows:
        name, _, parameters = code(call).rstrip(")").partition("(")
        signature = inspect.signature(getattr(middleware.SessionMiddleware, name))
        assert list(signature.parameters)[1:] == parameters.split(", ")
    assert {code(call).partition("(")[0] for call, _does in rows} == own


# The picture of a session's life

PICTURE = DOCS / "images/expiry-timeline.svg"
SVG = "{http://www.w3.org/2000/svg}"
IDLE_TIMEOUT, ABSOLUTE_TIMEOUT = timedelta(hours=2), timedelta(hours=8)


def moments_in(group: str, kind: str) -> list[tuple[datetime, float]]:
    """Return when and where each mark of *kind* in *group* stands."""
    root = ET.parse(PICTURE).getroot()
    marks = root.findall(f"./{SVG}g[@id='{group}']/{SVG}{kind}[@data-at]")
    return [
        (
            datetime.strptime(mark.attrib["data-at"], "%H:%M").replace(tzinfo=UTC),
            float(mark.attrib.get("cx") or mark.attrib["x1"]),
        )
        for mark in marks
    ]


@pytest.mark.parametrize("group", ["left-alone", "kept-in-use"])
def test_a_session_in_the_picture_ends_when_it_would(group: str) -> None:
    uses = moments_in(group, "circle")
    ((ends_at, _),) = moments_in(group, "line")
    policy = expiry.Policy(
        idle_timeout=IDLE_TIMEOUT, absolute_timeout=ABSOLUTE_TIMEOUT, absolute_is_configured=True
    )
    began_at = uses[0][0]
    life = expiry.life(policy, None, began_at=began_at, is_anonymous=False)
    for (earlier, _), (later, _) in pairwise(uses):
        end = life.ends_at(earlier)
        assert end is not None
        assert later < end
    assert life.ends_at(uses[-1][0]) == ends_at
    text = " ".join(ET.parse(PICTURE).getroot().itertext())
    assert f"ends {ends_at:%H:%M}" in text
    for page_text in (text, text_of("explanation/expiry.md")):
        assert f"{ends_at:%H:%M}" in page_text


@pytest.mark.parametrize("group", ["left-alone", "kept-in-use"])
def test_everything_in_the_picture_stands_where_its_hour_is(group: str) -> None:
    nine = datetime(1900, 1, 1, 9, tzinfo=UTC)
    for at, x in [*moments_in(group, "circle"), *moments_in(group, "line")]:
        assert x == 60 + 85 * (at - nine) / timedelta(hours=1)


def test_the_picture_can_be_read_in_the_dark_and_by_who_does_not_see_it() -> None:
    root = ET.parse(PICTURE).getroot()
    assert root.attrib["role"] == "img"
    named = [root.find(f"{SVG}title"), root.find(f"{SVG}desc")]
    assert [each is not None and each.attrib["id"] for each in named] == root.attrib[
        "aria-labelledby"
    ].split()
    assert "prefers-color-scheme: dark" in PICTURE.read_text(encoding="utf-8")
    linked = re.search(
        r"!\[([^\]]+)\]\(\.\./images/expiry-timeline\.svg\)", text_of("explanation/expiry.md")
    )
    assert linked is not None
    assert len(linked[1]) > 100


# What the security page says and no other test shows


@pytest.mark.parametrize("verify", [keys.verify, sealing.unseal])
def test_tags_are_compared_in_constant_time(verify: Any) -> None:
    tree = ast.parse(inspect.getsource(verify))
    compared = [
        {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
    ]
    assert not any("tag" in names for names in compared)
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in called


def everything_in(engine: Engine, settings: Settings) -> bytes:
    """Return what somebody who can read the store finds there."""
    driver: Any = engine.driver
    if engine.kind == "memory":
        return repr(driver._slots).encode() + b"".join(
            slot.stored.payload
            for slot in driver._slots.values()
            if hasattr(slot.stored, "payload")
        )
    if engine.kind == "redis":
        with redis.Redis.from_url(engine.server.url) as server:
            found = list(server.scan_iter(settings.MULTISESSION_REDIS["PREFIX"] + "*"))
            return b"".join(name + repr(server.hgetall(name)).encode() for name in found)
    options = settings.MULTISESSION_MONGODB
    with pymongo.MongoClient[dict[str, Any]](engine.server.url) as client:
        collection = client[options["DATABASE"]][options["COLLECTION"]]
        return repr(list(collection.find())).encode()


def test_what_a_server_holds_makes_no_cookie(
    engine_of_each_kind: Engine, settings: Settings
) -> None:
    engine = engine_of_each_kind
    session = engine.SessionStore()
    session["city"] = "Rome"
    session.save()
    session.cycle_key()
    session.save()
    session_key = session.session_key
    assert session_key is not None
    verified = keys.verify(session_key, [keys.derive(settings.SECRET_KEY.encode())])
    assert verified is not None
    found = everything_in(engine, settings)
    assert verified.storage_key.encode() in found
    assert b"Rome" in found
    assert session_key[:22].encode() not in found
    assert session_key[22:].encode() not in found
    for name in {verified.storage_key, *re.findall(r"[\w-]{40}", found.decode("latin-1"))}:
        assert not engine.SessionStore().exists(name)
