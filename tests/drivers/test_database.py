"""Sessions in databases: transactions, rollbacks, locks, rights, the purge and its plan."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext
from servers import PostgreSQLServer

from django_multisession.core.records import SAVED, SLACK_MS, TOMBSTONE_MS, Outcome, Record
from django_multisession.database.models import Session
from django_multisession.drivers.base import run
from django_multisession.drivers.database import rows
from django_multisession.drivers.database.driver import DatabaseDriver
from django_multisession.drivers.database.server import TRIES
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.testing.driver.fixtures import (
    NOW,
    SECOND,
    left_by,
    make_end,
    make_key,
    make_record,
)
from django_multisession.testing.rows import for_each
from django_multisession.testing.stored_records import next_write
from tests.conftest import Running
from tests.engine_fixtures import DATABASES, Engine, open_database, use_engine
from tests.rows import restoring

SERVERS = DATABASES[1:]
CLOCK_MS = NOW


class Clock:
    now = CLOCK_MS / 1000

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=DATABASES)
def alias(request: pytest.FixtureRequest, settings: Any, running_servers: Running) -> str:
    return use_engine(request.param, settings, running_servers).name


@pytest.fixture
def driver(alias: str, clock: Clock) -> DatabaseDriver:
    return DatabaseDriver({"ALIAS": alias}, clock)


@pytest.fixture
def connection(alias: str) -> Iterator[BaseDatabaseWrapper]:
    yield connections[alias]
    connections[alias].close()


def elsewhere(work: Callable[[], Any]) -> None:
    """Do *work* in another thread, and so on another connection."""
    failures: list[BaseException] = []

    def carry_out() -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  (shown below)
            failures.append(failure)
        finally:
            connections.close_all()

    thread = threading.Thread(target=carry_out)
    thread.start()
    thread.join(60)
    assert failures == []
    assert not thread.is_alive()


class RolledBack(Exception):  # noqa: N818  (what happens)
    pass


@contextlib.contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    with contextlib.suppress(RolledBack), transaction.atomic(using=alias):
        yield
        raise RolledBack


# Statements


def test_a_verb_is_one_statement(driver: DatabaseDriver, connection: BaseDatabaseWrapper) -> None:
    key, record = make_key(), make_record()
    later = next_write(record)
    verbs = {
        "add": driver.add(key, record),
        "get": driver.get(key),
        "touch": driver.touch(key, record, NOW + SECOND, NOW),
        "replace": driver.replace(key, next_write(record, touched_ms=NOW + SECOND), record, NOW),
        "delete": driver.delete(key, make_end()),
        "missing": driver.get(make_key()),
        "withdraw": driver.withdraw(key, later),
    }
    for name, verb in verbs.items():
        with CaptureQueriesContext(connection) as queries:
            run(verb)
        assert len(queries) == 1, name


def test_a_move_is_two_statements_in_a_transaction(
    driver: DatabaseDriver, connection: BaseDatabaseWrapper
) -> None:
    old, new, record = make_key(), make_key(), make_record()
    moved = next_write(record)
    run(driver.add(old, record))
    with CaptureQueriesContext(connection) as queries:
        assert run(driver.move(old, new, moved, record, left_by(moved, new), NOW)) == SAVED
    statements = [query["sql"].split()[0] for query in queries.captured_queries]
    assert [each for each in statements if each in {"UPDATE", "INSERT"}] == ["UPDATE", "INSERT"]


@pytest.mark.django_db
def test_the_migrations_are_those_of_the_model() -> None:
    call_command("makemigrations", Session._meta.app_label, check=True, dry_run=True, verbosity=0)


# Rows


def test_a_row_has_what_a_query_needs(driver: DatabaseDriver, alias: str) -> None:
    key, record = make_key(), make_record(user_id="Zoë\0")
    run(driver.add(key, record))
    row = Session.objects.using(alias).get(storage_key=key)
    assert (row.user_id, row.ends_ms, row.touched_ms) == ("Zoë\ufffd", record.ends_ms, NOW)
    assert bytes(row.record) == record.raw
    assert str(row) == key


@pytest.mark.parametrize("user", [None, "", "\ud800", "x" * 300, "ẞ" * 300])
def test_any_user_can_be_stored(driver: DatabaseDriver, user: str | None) -> None:
    key, record = make_key(), make_record(user_id=user)
    assert run(driver.add(key, record)) is True
    assert run(driver.get(key)) == record


def test_keys_differ_by_the_case_of_their_letters(driver: DatabaseDriver) -> None:
    key = "a" * 32
    run(driver.add(key, make_record()))
    assert run(driver.get(key.upper())) is None
    assert run(driver.add(key.upper(), make_record())) is True


def test_a_tombstone_is_gone_after_its_time(driver: DatabaseDriver, clock: Clock) -> None:
    key, end, record = make_key(), make_end(), make_record()
    run(driver.add(key, record))
    run(driver.delete(key, end))
    clock.now += TOMBSTONE_MS / 1000
    assert run(driver.get(key)) == end
    assert run(driver.add(key, record)) is False
    clock.now += SLACK_MS / 1000 + 1
    assert run(driver.get(key)) is None
    assert run(driver.delete(key, make_end())) is False
    assert run(driver.add(key, record)) is True
    assert run(driver.get(key)) == record


# The purge


def test_a_purge_removes_tombstones(driver: DatabaseDriver, alias: str) -> None:
    key = make_key()
    run(driver.add(key, make_record()))
    run(driver.delete(key, make_end()))
    gone = CLOCK_MS + TOMBSTONE_MS + SLACK_MS
    assert run(driver.purge_expired(gone, 10)) == 0
    assert run(driver.purge_expired(gone + 1, 10)) == 1
    assert not Session.objects.using(alias).exists()


def test_a_purge_of_many_takes_short_transactions(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper
) -> None:
    fill(alias, expired=1200, live=10)
    with CaptureQueriesContext(connection) as queries:
        assert run(driver.purge_expired(NOW, 2000)) == 1200
    assert sum(query["sql"].startswith("DELETE") for query in queries.captured_queries) == 3
    assert Session.objects.using(alias).count() == 10


@pytest.mark.parametrize("alias", SERVERS, indirect=True)
def test_a_purge_skips_what_a_request_locks(driver: DatabaseDriver, alias: str) -> None:
    fill(alias, expired=3, live=0)
    with transaction.atomic(using=alias):
        Session.objects.using(alias).select_for_update().order_by("ends_ms").first()
        elsewhere(lambda: removed.append(run(driver.purge_expired(NOW, 10))))
    assert removed.pop() == 2
    assert run(driver.purge_expired(NOW, 10)) == 1


removed: list[int] = []


def test_a_purge_finds_rows_by_their_index(alias: str, connection: BaseDatabaseWrapper) -> None:
    # Most rows are expired, and no statistics are there yet. 20 of them: as 500 of a table that a scan
    # costs something.
    fill(alias, expired=3000, live=300)
    expired = Session.objects.using(alias).filter(ends_ms__lt=NOW - SLACK_MS)
    plan = expired.order_by("ends_ms").values_list("pk", flat=True)[:20].explain()
    index = next(
        name
        for name, found in connection.introspection.get_constraints(
            connection.cursor(), Session._meta.db_table
        ).items()
        if found["columns"] == ["ends_ms"]
    )
    assert index in plan, plan


def test_a_page_of_a_users_sessions_is_read_by_their_index_and_not_sorted(
    alias: str, connection: BaseDatabaseWrapper
) -> None:
    fill(alias, expired=0, live=3000)
    sessions = Session.objects.using(alias)
    # Some of them together in the table, and the others among those of other users.
    pks = [*sessions.order_by("pk").values_list("pk", flat=True)]
    sessions.filter(pk__in={*pks[:500], *pks[::10]}).update(user_id="ada")
    explain = connection.ops.explain_query_prefix()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # As it does by itself within a minute. It takes 800 rows for one before.
            cursor.execute(f"ANALYZE {Session._meta.db_table}")
        for after in ("", "7" * 32):
            cursor.execute(f"{explain} {rows.OF_USER}", ("ada", NOW, after, 200))
            plan = str(cursor.fetchall())
            assert "multisession_of_user" in plan, plan
            for sorting in ("Sort", "filesort", "TEMP B-TREE"):
                assert sorting not in plan, plan


def fill(alias: str, *, expired: int, live: int) -> None:
    sessions = []
    for number in range(expired + live):
        record = make_record(touched_ms=NOW - 10**9 + number if number < expired else NOW)
        raw, mark, touched_ms, ends_ms, user = rows.values_of(record, 0)
        sessions.append(
            Session(
                storage_key=make_key(),
                record=raw,
                revision=mark,
                touched_ms=touched_ms,
                ends_ms=ends_ms,
                user_id=user,
            )
        )
    Session.objects.using(alias).bulk_create(sessions)


# Transactions


def test_a_taken_key_leaves_a_transaction_usable(driver: DatabaseDriver, alias: str) -> None:
    key, record = make_key(), make_record()
    with transaction.atomic(using=alias):
        assert run(driver.add(key, record)) is True
        assert run(driver.add(key, make_record())) is False
        assert run(driver.get(key)) == record
    assert run(driver.get(key)) == record


def test_a_failed_write_leaves_a_transaction_usable(driver: DatabaseDriver, alias: str) -> None:
    key = make_key()
    too_long = key * 100
    with transaction.atomic(using=alias):
        run(driver.add(key, make_record()))
        # SQLite and MariaDB, which is told to ignore, take it.
        with contextlib.suppress(StoreUnavailable):
            run(driver.add(too_long, make_record()))
        assert Session.objects.using(alias).filter(storage_key=key).exists()


def test_an_end_that_is_rolled_back_is_sent_again_by_the_next_verb(
    driver: DatabaseDriver, alias: str
) -> None:
    key, record, end = make_key(), make_record(), make_end()
    run(driver.add(key, record))
    with rolled_back(alias):
        assert run(driver.delete(key, end)) is True
    assert Session.objects.using(alias).get(storage_key=key).user_id == "7"
    assert run(driver.get(make_key())) is None
    assert run(driver.get(key)) == end


def test_an_end_that_is_rolled_back_is_sent_again_at_the_end_of_the_request(
    driver: DatabaseDriver, alias: str
) -> None:
    key, record, end = make_key(), make_record(), make_end()
    run(driver.add(key, record))
    with rolled_back(alias):
        assert run(driver.retire(key, record, end, NOW, NOW)) == SAVED
    driver.server._finish_request()
    assert run(DatabaseDriver({"ALIAS": alias}, Clock()).get(key)) == end
    assert driver.server._finish_request in [
        receiver() for _, receiver, *_ in request_finished.receivers
    ]


def test_an_end_that_is_committed_is_not_sent_again(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper
) -> None:
    key = make_key()
    run(driver.add(key, make_record()))
    with transaction.atomic(using=alias):
        run(driver.delete(key, make_end()))
    with CaptureQueriesContext(connection) as queries:
        run(driver.get(key))
        driver.server._finish_request()
    assert len(queries) == 1


def test_a_transaction_that_is_a_test_keeps_no_ends(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper
) -> None:
    key = make_key()
    run(driver.add(key, make_record()))
    with transaction.atomic(using=alias):
        run(driver.delete(key, make_end()))
        with CaptureQueriesContext(connection) as queries:
            driver.server._finish_request()
        assert len(queries) == 0
    assert not driver.server._uncommitted


def test_what_a_rolled_back_save_wrote_is_gone(driver: DatabaseDriver, alias: str) -> None:
    key, record = make_key(), make_record()
    mine = next_write(record, payload=b"mine")
    run(driver.add(key, record))
    with rolled_back(alias):
        assert run(driver.replace(key, mine, record, NOW)) == SAVED
    # Of the state's base nothing is left, and its ancestor is found.
    answer = run(driver.replace(key, next_write(mine), mine, NOW))
    assert (answer.outcome, answer.stored) == (Outcome.CONFLICT, record)


@pytest.mark.parametrize("alias", ["database-mariadb"], indirect=True)
def test_under_repeatable_read_a_refused_save_finds_what_is_there_now(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper
) -> None:
    key, record = make_key(), make_record()
    theirs = next_write(record, payload=b"theirs")
    run(driver.add(key, record))
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    with transaction.atomic(using=alias):
        assert run(driver.get(key)) == record
        elsewhere(lambda: run(driver.replace(key, theirs, record, NOW)))
        # The snapshot.
        assert run(driver.get(key)) == record
        answer = run(driver.replace(key, next_write(record), record, NOW))
        assert (answer.outcome, answer.stored) == (Outcome.CONFLICT, theirs)


@pytest.mark.parametrize("alias", ["database-postgresql"], indirect=True)
def test_under_repeatable_read_postgresql_refuses_a_save_and_the_transaction_goes_on(
    driver: DatabaseDriver, alias: str
) -> None:
    key, record = make_key(), make_record()
    run(driver.add(key, record))
    with transaction.atomic(using=alias):
        connections[alias].cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert run(driver.get(key)) == record
        elsewhere(lambda: run(driver.replace(key, next_write(record), record, NOW)))
        with pytest.raises(StoreUnavailable) as caught:
            run(driver.replace(key, next_write(record), record, NOW))
        assert caught.value.kind is OutageKind.OVERLOADED
        assert Session.objects.using(alias).count() == 1


# Outages


def test_a_database_that_is_not_there_is_an_outage(running_servers: Running) -> None:
    running_servers.allow_queries()
    settings = PostgreSQLServer.settings.fget(_Nowhere())  # type: ignore[attr-defined]  # a property
    connections.settings["nowhere"] = connections.configure_settings(
        {"default": {}, "nowhere": settings}
    )["nowhere"]
    try:
        driver = DatabaseDriver({"ALIAS": "nowhere"}, Clock())
        with pytest.raises(StoreUnavailable) as caught:
            run(driver.get(make_key()))
        assert caught.value.kind is OutageKind.UNREACHABLE
        assert str(caught.value) == 'The database "nowhere" did not answer (OperationalError).'
        assert caught.value.__context__ is None
        assert [problem.id for problem in driver.check()] == ["multisession.W131"]
    finally:
        del connections.settings["nowhere"]


class _Nowhere:
    backend, database, user, host, port = "postgresql", "postgres", "me", "127.0.0.1", 1


@pytest.mark.parametrize("alias", SERVERS, indirect=True)
def test_a_lost_connection_is_opened_again(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper
) -> None:
    key, record = make_key(), make_record()
    new, moved = make_key(), next_write(record, touched_ms=NOW + SECOND)
    run(driver.add(key, record))
    asked, ending = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%s)"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL %s"),
    }[connection.vendor]
    for verb in (
        lambda: run(driver.get(key)) == record,
        lambda: run(driver.touch(key, record, NOW + SECOND, NOW)) == SAVED,
        lambda: run(driver.move(key, new, moved, record, left_by(moved, new), NOW)) == SAVED,
    ):
        with connection.cursor() as cursor:
            cursor.execute(asked)
            (number,) = cursor.fetchone()

        def end(number: int = number) -> None:
            connections[alias].cursor().execute(ending, (number,))

        elsewhere(end)
        assert verb()  # type: ignore[no-untyped-call]  # mypy types no lambda in a tuple


@pytest.mark.parametrize("alias", ["database-postgresql"], indirect=True)
@pytest.mark.parametrize("undone", [TRIES - 1, TRIES])
def test_a_write_that_other_transactions_undo_is_sent_again(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper, undone: int
) -> None:
    key, record = make_key(), make_record()
    run(driver.add(key, record))
    with connection.cursor() as cursor, contextlib.ExitStack() as stack:
        # A sequence counts on when a statement fails.
        cursor.execute(f"""
            CREATE SEQUENCE tries;
            CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('tries') <= {undone} THEN
                    RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER undoing BEFORE UPDATE ON django_multisession_session
            FOR EACH ROW EXECUTE FUNCTION undo()""")
        stack.callback(cursor.execute, "DROP FUNCTION undo CASCADE; DROP SEQUENCE tries")
        touch = driver.touch(key, record, NOW + SECOND, NOW)
        if undone < TRIES:
            assert run(touch) == SAVED
            return
        with pytest.raises(StoreUnavailable) as caught:
            run(touch)
    assert caught.value.kind is OutageKind.OVERLOADED
    assert run(driver.get(key)) == record


@pytest.mark.parametrize("alias", ["database-mariadb"], indirect=True)
def test_writes_lock_a_row_by_one_index(
    driver: DatabaseDriver, connection: BaseDatabaseWrapper, clock: Clock
) -> None:
    key, record = make_key(), make_record()
    run(driver.add(key, record))
    writes = {
        "over": driver.replace(key, next_write(record), record, NOW),
        "end": driver.delete(key, make_end()),
        "clear": driver.add(key, next_write(record)),
    }
    for name, write in writes.items():
        with CaptureQueriesContext(connection) as queries:
            run(write)
        clock.now += (TOMBSTONE_MS + 2 * SLACK_MS) / 1000
        sent = [query["sql"] for query in queries if query["sql"].startswith(("UPDATE", "DELETE"))]
        assert len(sent) == 1, name
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sent[0]}")
            titles = [column[0] for column in cursor.description]
            plan = dict(zip(titles, cursor.fetchone(), strict=True))
        assert plan["possible_keys"] == "storage_key", name


@pytest.mark.parametrize("alias", SERVERS, indirect=True)
def test_a_refused_write_outside_a_transaction_holds_no_lock_while_it_reads(
    driver: DatabaseDriver, connection: BaseDatabaseWrapper
) -> None:
    key, record, new = make_key(), make_record(), make_key()
    left, end = left_by(record, new), make_end()
    run(driver.add(key, record))
    run(driver.delete(key, end))
    refused = {
        "add": driver.add(key, record),
        "replace": driver.replace(key, next_write(record), record, NOW),
        "touch": driver.touch(key, record, NOW + SECOND, NOW),
        "move": driver.move(key, new, next_write(record), record, left, NOW),
        "retire": driver.retire(key, record, left, NOW, NOW),
        "delete": driver.delete(key, make_end()),
    }
    for name, write in refused.items():
        with CaptureQueriesContext(connection) as queries:
            run(write)
        assert queries.captured_queries[-1]["sql"].startswith("SELECT record"), name
        assert "FOR UPDATE" not in queries.captured_queries[-1]["sql"], name
    assert run(driver.get(key)) == end


@pytest.mark.parametrize("alias", ["database-sqlite"], indirect=True)
def test_a_locked_sqlite_is_overloaded(
    driver: DatabaseDriver, alias: str, connection: BaseDatabaseWrapper
) -> None:
    key, record = make_key(), make_record()
    run(driver.add(key, record))
    connection.cursor().execute("PRAGMA busy_timeout = 1")

    def hold() -> None:
        with transaction.atomic(using=alias):
            connections[alias].cursor().execute("UPDATE django_multisession_session SET user_id=1")
            is_locked.set()
            is_over.wait(60)
        connections.close_all()

    is_locked, is_over = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_locked.wait(60)
        assert run(driver.get(key)) == record
        with pytest.raises(StoreUnavailable) as caught:
            run(driver.touch(key, record, NOW + SECOND, NOW))
    finally:
        is_over.set()
        thread.join()
    assert caught.value.kind is OutageKind.OVERLOADED
    assert str(caught.value).endswith("Another connection holds its lock: use WAL.")


@pytest.mark.parametrize("alias", ["database-postgresql"], indirect=True)
def test_a_statement_that_takes_too_long_timed_out(driver: DatabaseDriver, alias: str) -> None:
    key, record = make_key(), make_record()
    run(driver.add(key, record))
    with transaction.atomic(using=alias):
        Session.objects.using(alias).select_for_update().get(storage_key=key)

        def wait() -> None:
            connections[alias].cursor().execute("SET statement_timeout = 1")
            with pytest.raises(StoreUnavailable) as caught:
                run(driver.touch(key, record, NOW + SECOND, NOW))
            assert caught.value.kind is OutageKind.TIMED_OUT

        elsewhere(wait)


# Checks


def ids(driver: DatabaseDriver) -> list[str]:
    return [problem.id for problem in driver.check()]


def test_a_check_leaves_nothing(driver: DatabaseDriver, alias: str) -> None:
    assert ids(driver) == []
    assert not Session.objects.using(alias).exists()


def test_a_database_without_the_table_is_an_error(driver: DatabaseDriver, alias: str) -> None:
    call_command("migrate", Session._meta.app_label, "zero", database=alias, verbosity=0)
    try:
        (problem,) = driver.check()
        with pytest.raises(StoreUnavailable) as caught:
            run(driver.get(make_key()))
    finally:
        call_command("migrate", Session._meta.app_label, database=alias, verbosity=0)
    assert problem.id == "multisession.E132"
    assert problem.hint == f"Run: manage.py migrate --database {alias}"
    assert caught.value.kind is OutageKind.REFUSED
    assert str(caught.value).endswith(problem.hint)


@pytest.mark.parametrize("alias", ["database-postgresql"], indirect=True)
def test_a_missing_right_is_an_error(
    driver: DatabaseDriver, connection: BaseDatabaseWrapper
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader")
        cursor.execute("GRANT SELECT, INSERT, UPDATE ON django_multisession_session TO reader")
        cursor.execute("SET ROLE reader")
        (problem,) = driver.check()
        cursor.execute("RESET ROLE; DROP OWNED BY reader")
    assert problem.id == "multisession.E133"
    assert "InsufficientPrivilege, 42501" in problem.message


def test_atomic_requests_is_a_warning(
    driver: DatabaseDriver, connection: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert ids(driver) == ["multisession.W134"]


def test_sqlite_without_wal_is_a_warning(running_servers: Running) -> None:
    running_servers.allow_queries()
    place = str(running_servers.directory / "without-wal.sqlite3")
    open_database("database-sqlite", {"ENGINE": "django.db.backends.sqlite3", "NAME": place}, {})
    connections["database-sqlite"].close()
    del connections["database-sqlite"]
    open_database("database-sqlite", {"ENGINE": "django.db.backends.sqlite3", "NAME": place}, {})
    try:
        driver = DatabaseDriver({"ALIAS": "database-sqlite"}, Clock())
        assert ids(driver) == ["multisession.W135"]
    finally:
        connections["database-sqlite"].close()
        del connections["database-sqlite"]


# Which database


def test_an_alias_that_there_is_not_is_told() -> None:
    with pytest.raises(ImproperlyConfigured, match="the name of a database in DATABASES"):
        DatabaseDriver({"ALIAS": "elsewhere"}, Clock())


APP = "django_multisession.database"


def test_without_the_app_the_engine_says_what_to_add(settings: Any) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != APP]
    with pytest.raises(ImproperlyConfigured, match=r'Add "django_multisession\.database"'):
        Engine("database").SessionStore.get_driver()


@for_each("engine", ["database", "tiered"])
@restoring
def test_without_the_app_a_check_says_what_to_add(engine: str, settings: Any) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{engine}"
    settings.MULTISESSION_TIERED = {
        "FRONT": "django_multisession.engines.memory",
        "BACK": "django_multisession.engines.database",
    }
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != APP]
    (message,) = [each for each in checks.run_checks() if each.id == "multisession.E011"]
    assert message.hint == f'INSTALLED_APPS += ["{APP}"], then run: manage.py migrate'


def test_at_a_wrong_alias_a_check_shows_the_setting(settings: Any) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.database"
    settings.MULTISESSION_DATABASE = {"ALIAS": "elsewhere"}
    (message,) = [each for each in checks.run_checks() if each.id == "multisession.E011"]
    assert message.hint == 'MULTISESSION_DATABASE = {"ALIAS": "default"}'


class Router:
    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "database-sqlite" if model is Session else None


@pytest.mark.parametrize("alias", ["database-sqlite"], indirect=True)
def test_routers_choose_the_database(alias: str, settings: Any) -> None:
    settings.DATABASE_ROUTERS = [Router()]
    driver = DatabaseDriver({}, Clock())
    key, record = make_key(), make_record()
    run(driver.add(key, record))
    assert isinstance(run(driver.get(key)), Record)
    assert Session.objects.using(alias).filter(storage_key=key).exists()


def test_a_broken_transaction_is_refused(driver: DatabaseDriver, alias: str) -> None:
    with rolled_back(alias):
        with contextlib.suppress(DatabaseError), transaction.atomic(using=alias, savepoint=False):
            connections[alias].cursor().execute("no such statement")
        with pytest.raises(StoreUnavailable) as caught:
            run(driver.get(make_key()))
    assert caught.value.kind is OutageKind.REFUSED
