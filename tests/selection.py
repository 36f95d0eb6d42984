"""Which cases of a parametrized test run without ``-m every_engine``.

A test above the drivers runs in *places*: on an engine, under a session middleware, from sync or
async code. It may have a table of *rows* too. Without the option each test runs in a few places and
each row in one of them. The engines differ in their drivers, and the driver contract runs on every
server.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.engine_fixtures import (
    COOKIE,
    COOKIE_ENGINES,
    ENGINES,
    ONE_OF_EACH_KIND,
    REVOCABLE,
    TIERED,
)

HERE = Path(__file__).parent

DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "django_multisession.middleware.SessionMiddleware"

#: The values of parameters that make a place.
FACTORS: dict[str, Sequence[str]] = {
    "engine": (*ENGINES, *COOKIE_ENGINES),
    "middleware": (DJANGOS, OURS),
    "end": ("sync", "async"),
}

MEMORY, REDIS, MONGODB, MEMCACHED, DATABASE = ONE_OF_EACH_KIND

#: The modules of those engine laws in which a request finds what another one stored.
LAWS_ACROSS_THE_DRIVER = (
    "authentication_laws",
    "claim_laws",
    "end_laws",
    "loss_laws",
    "overlap_laws",
    "revival_laws",
)


class Place(NamedTuple):
    """Where a case runs; None for what its test doesn't vary."""

    engine: str | None = None
    middleware: str | None = None
    end: str | None = None

    @property
    def is_in_half(self) -> bool:
        """Whether it belongs to the half of all places that has every pair of two factors."""
        others = zip(self, (REDIS, OURS, "async"), strict=True)
        differences = [value == other for value, other in others if value is not None]
        return len(differences) < 2 or sum(differences) % 2 == 0


class Case(NamedTuple):
    """One case of a test: its place, its row, the module that defines the test, and its name."""

    place: Place
    row: Hashable
    module: str
    test: str = ""


def half_of(*engines: str) -> Callable[[Case], bool]:
    return lambda case: case.place.engine in (None, *engines) and case.place.is_in_half


def all_of(*engines: str) -> Callable[[Case], bool]:
    return lambda case: case.place.engine in (None, *engines)


def of_driver_contract(case: Case) -> bool:
    # To an older server the two ends of one client are the same.
    return case.place.engine in ONE_OF_EACH_KIND or case.place.end != "sync"


def of_engine_contract(case: Case) -> bool:
    if case.place.engine in (MONGODB, MEMCACHED, DATABASE, TIERED) and not case.module.endswith(
        LAWS_ACROSS_THE_DRIVER
    ):
        return False
    return case.place.engine == MEMORY or (
        case.place.engine in (*ONE_OF_EACH_KIND, TIERED) and case.place.end != "sync"
    )


def of_cookie_engine(case: Case) -> bool:
    # Neither end waits for a server but at the revocations.
    crossing = (".driver.", ".interleaving.")
    is_across = any(each in case.module for each in crossing) or case.module.endswith(
        LAWS_ACROSS_THE_DRIVER
    )
    engine = REVOCABLE if is_across else COOKIE
    return case.place.end != "sync" and case.place.engine in (None, engine)


def of_djangos_suites(case: Case) -> bool:
    # Two thousand tests, a minute for each engine. Few of them look at the session.
    engines = (
        (REDIS,)
        if case.test == "test_djangos_own_suites_pass_with_the_engine"
        else (*ONE_OF_EACH_KIND, TIERED)
    )
    return case.place.engine in engines


#: A directory or a file → which places it runs in. Every other one runs as a whole.
PARTS: dict[str, Callable[[Case], bool]] = {
    "clients": half_of(MEMORY, REDIS),
    "cookie": of_cookie_engine,
    # What a login records are entries of its session.
    "devices": half_of(MEMORY, REDIS),
    "django_suites": of_djangos_suites,
    "drivers": all_of(*ONE_OF_EACH_KIND),
    "interleavings": half_of(MEMORY, REDIS),
    "moving": half_of(REDIS, MONGODB),
    "test_driver_contract.py": of_driver_contract,
    "test_engine_contract.py": of_engine_contract,
    # A move in steps is made of verbs whose laws run on every server.
    "test_moves_in_steps.py": half_of(MEMORY, REDIS),
    "user_sessions": half_of(MEMORY, REDIS, MONGODB, DATABASE, TIERED),
    "web": half_of(MEMORY, REDIS),
    "wire": half_of(*ONE_OF_EACH_KIND),
}

#: Servers read a record's bytes, each in its own way.
RUNS_EVERY_ROW = {"test_driver_contract.py"}


def part_of(item: pytest.Item) -> str:
    """Return the directory or the file below tests/; nothing for a test of the package."""
    return item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""


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


def core_of(cases: Sequence[Case], part: str) -> list[Case]:
    """Return the cases of one test that run: each of its places and each of its rows, in turn.

    A test none of whose places is among those of *part* runs as a whole: it was named, or it is
    about these places.
    """
    if part not in PARTS:
        return list(cases)
    chosen = [case for case in cases if PARTS[part](case)] or list(cases)
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
