"""What the README's test command leaves out, and what it does not."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from django_multisession.testing.rows import for_each
from tests.engine_fixtures import ENCRYPTED, ENGINES, TIERED_ENGINES
from tests.scheduling import SHARED, scope_of
from tests.selection import (
    DJANGOS,
    HERE,
    LAWS,
    OURS,
    PARTS,
    Case,
    Place,
    case_of,
    core_of,
    left_to_ci,
)

MIDDLEWARE, ENDS = (DJANGOS, OURS), ("sync", "async")
PLACES = [Place(*chosen) for chosen in itertools.product(ENGINES, MIDDLEWARE, ENDS)]


def cases(places: list[Place], rows: int, module: str = "tests.a") -> list[Case]:
    return [Case(place, row, module) for place in places for row in range(rows)]


@for_each("part", PARTS)
def test_every_row_runs(part: str) -> None:
    for rows in (1, 2, 3, 4, 5, 15):
        core = core_of(cases(PLACES, rows), part)
        assert {case.row for case in core} == set(range(rows)), rows


@for_each("rows", [1, 3, 15])
def test_a_test_above_the_drivers_runs_in_one_place_with_every_row(rows: int) -> None:
    core = core_of(cases(PLACES, rows), "moving")
    assert len({case.place for case in core}) == 1
    assert len(core) == rows


@for_each("rows", [1, 3, 15])
def test_a_test_of_a_site_runs_in_two_places_that_differ_in_everything(rows: int) -> None:
    places = {case.place for case in core_of(cases(PLACES, rows), "web")}
    assert len(places) == 2
    for one, other in zip(*places, strict=True):
        assert one != other


def test_tests_of_a_site_take_turns_in_every_place() -> None:
    tests = [[Case(place, (), "tests.a", f"test_{n}") for place in PLACES] for n in range(200)]
    places = [case.place for each in tests for case in core_of(each, "web")]
    assert set(places) == {each for each in PLACES if each.engine in ("memory", "redis-8.2")}
    assert min(map(places.count, places)) > 20


def test_a_table_of_a_site_costs_its_rows_or_its_places() -> None:
    assert [len(core_of(cases(PLACES, rows), "web")) for rows in (1, 4, 15)] == [2, 4, 15]


def test_a_site_under_djangos_middleware_is_left_to_ci_where_ours_is_there() -> None:
    everywhere, djangos = cases(PLACES, 1), [Place("memory", DJANGOS, end) for end in ENDS]
    left = left_to_ci(everywhere, "web")
    assert {case.place.middleware for case in left} == {DJANGOS}
    assert {case.place.end for case in left} == set(ENDS)
    ours = [case for case in everywhere if case not in left]
    assert [case.place.middleware for case in core_of(ours, "web")] == [OURS]
    assert left_to_ci(cases(djangos, 1), "web") == []


def test_of_the_verbs_of_a_driver_one_end_is_left_to_ci() -> None:
    verbs = cases([Place(end=end) for end in ENDS], 1, "tests.drivers.test_redis")
    assert len(left_to_ci(verbs, "drivers")) == 1
    connections = cases([Place(end=end) for end in ENDS], 1, "tests.drivers.test_redis_pool")
    assert left_to_ci(connections, "drivers") == []


def test_of_the_two_kinds_of_mongodb_a_law_of_drivers_leaves_one_to_ci() -> None:
    laws = [[Case(Place(each), (), "tests.a", f"test_{n}") for each in ENGINES] for n in range(50)]
    left = [case.place for law in laws for case in left_to_ci(law, "test_driver_contract.py")]
    assert len(left) == len(laws)
    assert {place.engine for place in left} == {"mongodb-standalone", "mongodb-replica-set"}


def test_a_row_that_some_places_lack_runs() -> None:
    everywhere = cases(PLACES, 3)
    only_there = Case(Place("memory", DJANGOS, "sync"), 3, "tests.a")
    assert only_there in core_of([*everywhere, only_there], "web")


def test_a_law_of_drivers_runs_on_every_server_with_every_row() -> None:
    places = [Place(engine, end=end) for engine in ENGINES for end in ENDS]
    core = core_of(cases(places, 3), "test_driver_contract.py")
    ran = {case.place.engine for case in core}
    assert set(ENGINES) - ran < {"redis-6.2", "redis-7.0", *TIERED_ENGINES}
    assert len(ran) == len(ENGINES) - 2
    assert {(case.place.engine, case.row) for case in core} == set(itertools.product(ran, range(3)))


def test_a_law_of_drivers_runs_from_both_ends_of_redis_mongodb_and_databases() -> None:
    places = [Place(engine, end=end) for engine in ENGINES for end in ENDS]
    core = [case.place for case in core_of(cases(places, 1), "test_driver_contract.py")]
    for kind in ("redis", "mongodb", "database"):
        assert {place.end for place in core if str(place.engine).startswith(kind)} == set(ENDS)


def test_a_law_of_engines_runs_on_memory_and_redis_and_crosses_the_other_drivers() -> None:
    places = [Place(engine, end=end) for engine in (*ENGINES, ENCRYPTED) for end in ENDS]

    def engines(module: str) -> set[str | None]:
        laws = f"django_multisession.testing.engine.{module}"
        core = core_of(cases(places, 1, laws), "test_engine_contract.py")
        assert len(core) == len({case.place.engine for case in core})
        return {case.place.engine for case in core}

    assert engines("hook_laws") == {"memory", "redis-8.2"}
    assert engines("value_laws") == {"memory", "redis-8.2", ENCRYPTED}
    assert engines("end_laws") == {
        "memory",
        "redis-8.2",
        "mongodb-standalone",
        "memcached",
        "database-postgresql",
        "tiered-redis-mongodb",
    }


def test_a_law_that_runs_on_other_engines_runs_here_if_it_is_named() -> None:
    encrypted = [Case(Place(ENCRYPTED, end=end), (), f"{LAWS}engine.hook_laws") for end in ENDS]
    assert core_of(encrypted, "test_engine_contract.py") == []
    assert core_of(encrypted, "test_engine_contract.py", are_named=True) == encrypted


def test_djangos_suites_run_on_redis_and_its_session_tests_on_a_database_too() -> None:
    def engines(test: str) -> set[str | None]:
        everywhere = [Case(Place(engine), (), "tests.a", test) for engine in ENGINES]
        return {case.place.engine for case in core_of(everywhere, "django_suites")}

    assert engines("test_djangos_own_suites_pass_with_the_engine") == {"redis-8.2"}
    assert engines("test_every_test_of_djangos_session_mixin_passes") == {
        "redis-8.2",
        "database-postgresql",
    }


def test_a_case_that_was_named_runs() -> None:
    named = cases([Place("mongodb-replica-set", OURS, "sync")], 1)
    assert core_of(named, "web") == named


def test_a_test_of_no_part_in_the_table_runs_as_a_whole() -> None:
    everything = cases(PLACES, 3)
    assert core_of(everything, "unit") == everything


def test_tests_that_share_what_takes_long_to_start_run_in_one_process() -> None:
    outage, walk = (
        "tests/browser/test_outage.py::test_a[redis]",
        "tests/browser/test_walk.py::test_b",
    )
    assert scope_of(outage) == scope_of(walk)
    on_mongodb, on_a_replica_set = (
        f"tests/a.py::test_a[{TIERED_ENGINES[0]}]",
        "tests/b.py::test_b[x-mongodb-replica-set]",
    )
    assert scope_of(on_mongodb) == scope_of(on_a_replica_set) != scope_of(walk)
    assert scope_of("tests/a.py::test_a[memory]") != scope_of("tests/a.py::test_a[redis-8.2]")


def test_whatever_is_shared_is_there() -> None:
    for shared in SHARED:
        assert any(shared in engine for engine in ENGINES) or (HERE.parent / shared).exists()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("site", [("memory", DJANGOS), ("redis-6.2", OURS)])
@pytest.mark.parametrize("row", [1])
def test_a_place_is_read_from_the_parameters(
    request: pytest.FixtureRequest, end: str, site: tuple[str, str], row: int
) -> None:
    case = case_of(request.node)
    assert case.place == Place(*site, end)
    assert case.row == (("row", id(row)),)
    assert case.module == __name__
    assert case.test == "test_a_place_is_read_from_the_parameters"


@pytest.mark.parametrize(
    ("arguments", "has_long"),
    [
        (["-o", "testpaths=tests/exhaustive"], False),
        pytest.param(
            ["-o", "testpaths=tests/exhaustive", "-m", "long or not once"],
            True,
            marks=pytest.mark.long,
        ),
        pytest.param(["tests/exhaustive"], True, marks=pytest.mark.long),
    ],
)
def test_long_tests_run_where_a_path_or_a_mark_is_named(
    arguments: list[str], *, has_long: bool
) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent)
    assert "rule_is_kept" in listed.stdout or "-m" in arguments
    assert ("limits[three-requests]" in listed.stdout) is has_long
