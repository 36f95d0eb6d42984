"""Which cases of a parametrized test run without ``-m every_engine``.

A test above the drivers runs in *places*: on an engine, under a session middleware, from sync or
async code. It may have a table of *rows* too. Without the option each test runs in one place or a
few, and each row in one of them. The engines differ in their drivers, and the driver contract runs
on every server.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.engine_fixtures import (
    COOKIE,
    COOKIE_ENGINES,
    ENCRYPTED,
    ENGINES,
    MONGODBS,
    ONE_OF_EACH_KIND,
    REVOCABLE,
    SQLITE,
    TIERED,
    TIERED_ENGINES,
)

HERE = Path(__file__).parent

DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "django_multisession.middleware.SessionMiddleware"

#: The values of parameters that make a place.
FACTORS: dict[str, Sequence[str]] = {
    "engine": (*ENGINES, *COOKIE_ENGINES, ENCRYPTED),
    "middleware": (DJANGOS, OURS),
    "end": ("sync", "async"),
}

MEMORY, REDIS, MONGODB, MEMCACHED, DATABASE = ONE_OF_EACH_KIND

#: Where the laws of the contracts are.
LAWS = "django_multisession.testing."
#: The modules of those engine laws in which a request finds what another one stored.
LAWS_ACROSS_THE_DRIVER = (
    ".claim_laws",
    ".end_laws",
    ".loss_laws",
    ".overlap_laws",
    ".revival_laws",
)
#: Of these, the modules about what a copy could bring back, or lose.
LAWS_OF_TWO_TIERS = (".end_laws", ".loss_laws", ".revival_laws")
#: The modules of those engine laws that depend on what a key or a record holds.
LAWS_OF_FORM = (".authentication_laws", ".contract", ".key_laws", ".saving_laws", ".value_laws")
#: Of these, the modules about payloads.
LAWS_OF_PAYLOADS = (".contract", ".value_laws")


class Place(NamedTuple):
    """Where a case runs; None for what its test doesn't vary."""

    engine: str | None = None
    middleware: str | None = None
    end: str | None = None


class Case(NamedTuple):
    """One case of a test: its place, its row, the module that defines the test, and its name."""

    place: Place
    row: Hashable
    module: str
    test: str = ""

    @property
    def turn(self) -> int:
        """A number of the test, the same in each run. It decides where the test runs."""
        return zlib.crc32(self.test.encode())


Choice = Callable[[Sequence[Case]], list[Case]]


def in_turn_on(*engines: str) -> Choice:
    """Choose one place for each test, so that among all tests each place has its share.

    For what lies above a driver, and is the same from sync and from async code.
    """

    def choose(cases: Sequence[Case]) -> list[Case]:
        chosen = _on(engines, cases)
        places = list(dict.fromkeys(case.place for case in chosen))
        return [case for case in chosen if case.place == places[case.turn % len(places)]]

    return choose


def opposites_on(*engines: str) -> Choice:
    """Choose one place for each test, in turn, and the one that differs most: the other middleware."""
    in_turn = in_turn_on(*engines)

    def choose(cases: Sequence[Case]) -> list[Case]:
        first = next((case.place for case in in_turn(cases)), Place())

        def differences(place: Place) -> int:
            return sum(value != other for value, other in zip(place, first, strict=True))

        chosen = _on(engines, cases)
        others = (case.place for case in chosen if case.place.middleware != first.middleware)
        opposite = max(others, key=differences, default=first)
        return [case for case in chosen if case.place in (first, opposite)]

    return choose


def all_of(*engines: str) -> Choice:
    return lambda cases: _on(engines, cases)


def _on(engines: Sequence[str], cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.place.engine in (None, *engines)]


def _is_in_turn(case: Case, engines: Sequence[str] = FACTORS["engine"]) -> bool:
    """Return whether the law runs from this end here. On the next server it runs from the other."""
    number = engines.index(case.place.engine) if case.place.engine else 0
    return case.place.end in (None, FACTORS["end"][(case.turn + number) % 2])


#: A law of the driver contract runs on one of each pair. A tiered engine has no server of its own,
#: and the older releases of Redis get the commands that the newest one gets.
PAIRS = (TIERED_ENGINES, ("redis-6.2", "redis-7.0"))


def of_driver_contract(cases: Sequence[Case]) -> list[Case]:
    def is_chosen(case: Case) -> bool:
        passed_over = {pair[case.turn // 2 % 2] for pair in PAIRS}
        engines = [engine for engine in FACTORS["engine"] if engine not in passed_over]
        return case.place.engine not in passed_over and _is_in_turn(case, engines)

    return [case for case in cases if is_chosen(case)]


def of_engine_contract(cases: Sequence[Case]) -> list[Case]:
    def is_chosen(case: Case) -> bool:
        engines: tuple[str, ...] = (MEMORY, REDIS)
        if case.module.endswith(LAWS_OF_TWO_TIERS):
            engines = (*ONE_OF_EACH_KIND, TIERED)
        elif case.module.endswith(LAWS_ACROSS_THE_DRIVER):
            engines = ONE_OF_EACH_KIND
        elif case.module.endswith(LAWS_OF_PAYLOADS):
            engines = (*engines, ENCRYPTED)
        return case.place.engine in engines and _is_in_turn(case)

    return [case for case in cases if is_chosen(case)]


def of_cookie_engine(cases: Sequence[Case]) -> list[Case]:
    def is_chosen(case: Case) -> bool:
        is_across = case.module.startswith(
            (f"{LAWS}driver.", f"{LAWS}interleaving.")
        ) or case.module.endswith(LAWS_ACROSS_THE_DRIVER)
        if case.module.startswith(f"{LAWS}engine.") and not (
            is_across or case.module.endswith(LAWS_OF_FORM)
        ):
            return False
        # Neither end waits for a server but at the revocations.
        engine = REVOCABLE if is_across else COOKIE
        return case.place.end != "sync" and case.place.engine in (None, engine)

    return [case for case in cases if is_chosen(case)]


def of_djangos_suites(cases: Sequence[Case]) -> list[Case]:
    # A minute for each engine, and half of one for the tests of its sessions.
    is_of_sessions = any("session_mixin" in case.test for case in cases)
    return _on((REDIS, DATABASE, COOKIE) if is_of_sessions else (REDIS,), cases)


def of_overlapping_requests(cases: Sequence[Case]) -> list[Case]:
    return [case for case in _on((REDIS, MONGODB, DATABASE, TIERED), cases) if _is_in_turn(case)]


#: A directory or a file → which places it runs in. Every other one runs as a whole.
PARTS: dict[str, Choice] = {
    "asked": in_turn_on(MEMORY),
    "clients": in_turn_on(REDIS, MEMORY),
    "cookie": of_cookie_engine,
    # What a login records are entries of its session.
    "devices": in_turn_on(REDIS, MEMORY),
    "django_suites": of_djangos_suites,
    "drivers": all_of(*ONE_OF_EACH_KIND),
    "faults": all_of(REDIS, DATABASE, SQLITE),
    "interleavings": in_turn_on(REDIS, MEMORY),
    "moving": in_turn_on(REDIS, MONGODB),
    # A middleware, used as a decorator.
    "test_decorated_views.py": in_turn_on(REDIS, MEMORY),
    "stateful": of_overlapping_requests,
    "test_driver_contract.py": of_driver_contract,
    "test_engine_contract.py": of_engine_contract,
    # A move in steps is made of verbs whose laws run on every server.
    "test_moves_in_steps.py": in_turn_on(REDIS, MEMORY),
    # What finds the sessions of a user is a verb of the driver contract.
    "user_sessions": in_turn_on(REDIS, DATABASE),
    # Each of its tests says what both middlewares do.
    "web": opposites_on(REDIS, MEMORY),
    "wire": in_turn_on(REDIS, MONGODB),
}

#: Tests of the verbs of a driver, which both ends of its server share.
OF_VERBS = (
    "test_memcached",
    "test_mongodb",
    "test_mongodb_documents",
    "test_mongodb_indexes",
    "test_redis",
    "test_redis_index",
    "test_redis_unreadable",
)


def left_to_ci(cases: Sequence[Case], part: str) -> list[Case]:
    """Return the cases of one test that get the mark ``long``: a like one shows nearly the same."""
    if part == "web":
        left = [case for case in cases if case.place.middleware == DJANGOS]
    elif part == "drivers" and cases[0].module.endswith(OF_VERBS):
        left = [case for case in cases if case.place.end and not _is_in_turn(case)]
    elif part == "test_driver_contract.py":
        # Both kinds of MongoDB get the same commands. Other bits choose the end and the pairs.
        left = [case for case in cases if case.place.engine == MONGODBS[case.turn // 4 % 2]]
    else:
        left = []
    return left if len(left) < len(cases) else []


def left_to_release(rows: Iterable[Any], in_ci: Container[Any]) -> list[Any]:
    """Return *rows* for ``parametrize``, with the mark ``release`` for all but those *in_ci*."""
    return [row if row in in_ci else pytest.param(row, marks=pytest.mark.release) for row in rows]


#: Servers read a record's bytes, each in its own way.
RUNS_EVERY_ROW = {"test_driver_contract.py"}


def part_of(item: pytest.Item) -> str:
    """Return the directory or the file below tests/; nothing for a test of the package."""
    return _part_of_file(item.path)


@functools.cache
def _part_of_file(path: Path) -> str:
    return path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else ""


def case_of(item: pytest.Item) -> Case:
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    factors = {name: _factors(value) for name, value in params.items()}
    # One object in every case of a row. Not every value can be compared.
    row = tuple((name, id(params[name])) for name, found in factors.items() if not found)
    place = Place(**{name: value for found in factors.values() for name, value in found.items()})
    function = getattr(item, "function", None)
    return Case(place, row, getattr(function, "__module__", ""), getattr(function, "__name__", ""))


def _factors(value: Any) -> dict[str, str]:
    return {
        name: each
        for each in (value if isinstance(value, tuple) else (value,))
        for name, values in FACTORS.items()
        if isinstance(each, str) and each in values
    }


def core_of(cases: Sequence[Case], part: str, *, are_named: bool = False) -> list[Case]:
    """Return the cases of one test that run: each of its places and each of its rows, in turn.

    A test none of whose places is among those of *part* runs as a whole: it was named, or it is
    about these places. A law of a contract runs on other engines instead, unless it was named.
    """
    if part not in PARTS:
        return list(cases)
    chosen = PARTS[part](cases)
    if not chosen and (are_named or not all(case.module.startswith(LAWS) for case in cases)):
        chosen = list(cases)
    if part in RUNS_EVERY_ROW:
        return chosen
    places = _numbers(case.place for case in chosen)
    rows = _numbers(case.row for case in chosen)

    def is_out_of_turn(case: Case) -> bool:
        return rows[case.row] % len(places) != places[case.place] % len(rows)

    core: list[Case] = []
    # Where a row isn't there in each place, the turns leave something out.
    for case in sorted(chosen, key=is_out_of_turn):
        if case.place not in {each.place for each in core} or case.row not in {
            each.row for each in core
        }:
            core.append(case)
    return core


def _numbers(values: Iterable[Hashable]) -> dict[Hashable, int]:
    return {value: number for number, value in enumerate(dict.fromkeys(values))}
