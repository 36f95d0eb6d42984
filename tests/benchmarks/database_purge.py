"""Prints the table of purges in docs/explanation/performance.md; some minutes of filling tables.

``python -m tests.benchmarks.database_purge``, in a clone with the test requirements. It starts each
database, fills this package's table and Django's alike, and runs ``manage.py clearsessions`` on one
after the other. Meanwhile another process reads and changes live sessions of that table.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import re
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from importlib import import_module
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

from tests.benchmarks.tables import write_row

HEAD = ("database", "engine", "rows a second", "MB", "p99 alone, ms", "meanwhile", "slowest", "503")
ENGINES = {
    "database": "django_multisession.engines.database",
    "Django's db": "django.contrib.sessions.backends.db",
}
#: Of the live sessions, those that requests use.
USED = 1000
ALONE_SECONDS = 10
PAUSE_SECONDS = 0.005
FILLED_TOGETHER = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """What a process needs to be one of the site's."""

    database: dict[str, Any]
    engine: str

    def set_up(self) -> type[Any]:
        """Configure Django, and return the class of its sessions."""
        import django
        from django.conf import settings

        if self.database["ENGINE"].endswith("mysql"):
            import pymysql

            pymysql.install_as_MySQLdb()
        settings.configure(
            SECRET_KEY="only-for-benchmarks-" + "x" * 50,
            DATABASES={"default": self.database},
            INSTALLED_APPS=[
                "django_multisession",
                "django_multisession.database",
                "django.contrib.sessions",
            ],
            SESSION_ENGINE=self.engine,
            USE_TZ=True,
        )
        django.setup()
        logging.disable(logging.CRITICAL)
        store: type[Any] = import_module(self.engine).SessionStore
        return store


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what *work* returns in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


# The tables


def fill(site: Site, expired: int, live: int) -> list[str]:
    """Fill the table of *site*, and return the keys of the sessions that requests use."""
    store = site.set_up()
    from django.core.management import call_command
    from django.db import connection, transaction

    call_command("migrate", verbosity=0)
    row = _our_row if "multisession" in site.engine else _djangos_row
    rows = itertools.chain((row(True) for _ in range(expired)), (row(False) for _ in range(live)))
    with transaction.atomic():
        while batch := list(itertools.islice(rows, FILLED_TOGETHER)):
            type(batch[0]).objects.bulk_create(batch)
    keys = []
    for _ in range(USED):
        session = store()
        session["name"] = "x" * 100
        session.save()
        keys.append(session.session_key)
    if connection.vendor == "postgresql":
        connection.cursor().execute("VACUUM ANALYZE")
    return keys


def _our_row(is_expired: bool) -> Any:
    from django_multisession.database.models import Session
    from django_multisession.drivers.database import rows
    from django_multisession.testing.driver.fixtures import NOW, make_record

    record = make_record(payload=bytes(100))
    raw, mark, touched_ms, _ends_ms, user_id = rows.values_of(record, 0)
    return Session(
        storage_key=secrets.token_hex(32),
        record=raw,
        revision=mark,
        touched_ms=touched_ms,
        # Sessions end one after the other. That of the record is long past.
        ends_ms=NOW + secrets.randbelow(10**9) if is_expired else 2 * NOW,
        user_id=user_id,
    )


def _djangos_row(is_expired: bool) -> Any:
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    ends = timedelta(milliseconds=secrets.randbelow(10**9))
    return Session(
        session_key=secrets.token_hex(16),
        session_data="x" * 250,
        expire_date=timezone.now() + (timedelta(days=-30) + ends if is_expired else ends * 9),
    )


# What runs concurrently


def visit(site: Site, keys: list[str], is_over: Event) -> tuple[list[float], int]:
    """Return the seconds of each request until *is_over*, and how many failed."""
    store = site.set_up()
    seconds: list[float] = []
    failed = 0
    for number in itertools.count():
        if is_over.is_set():
            return seconds, failed
        began = time.perf_counter()
        try:
            session = store(secrets.choice(keys))
            session["number"] = number
            session.save()
        except Exception:  # noqa: BLE001  (counted: Django's engine lets out the database's)
            failed += 1
        seconds.append(time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
    raise AssertionError


def purge(site: Site, rows_together: int | None) -> tuple[float, float]:
    """Remove what expired; return the seconds, and the MB that it took over those of Django."""
    site.set_up()
    from django.core.management import call_command

    if rows_together:
        from django_multisession.drivers.database import lists

        lists.PURGED_TOGETHER = rows_together
    before, began = _peak_memory(), time.perf_counter()
    options = {"batch_size": rows_together} if rows_together else {}
    call_command("clearsessions", stdout=StringIO(), stderr=StringIO(), **options)
    return time.perf_counter() - began, _peak_memory() - before


def _peak_memory() -> float:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 1000


def alone(*_: Any) -> tuple[float, float]:
    """Remove nothing."""
    time.sleep(ALONE_SECONDS)
    return ALONE_SECONDS, 0


def beside_visits(
    site: Site, keys: list[str], work: Callable[..., Any], *arguments: Any
) -> tuple[Any, list[float], int]:
    """Return what *work* returns, and what `visit` does meanwhile."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(1, context) as visitor:
        is_over = manager.Event()
        visits = visitor.submit(visit, site, keys, is_over)
        # It imports Django first.
        time.sleep(2)
        try:
            result = in_process(work, site, *arguments)
        finally:
            is_over.set()
        return result, *visits.result()


# The databases


@contextlib.contextmanager
def database(name: str, place: Path) -> Iterator[dict[str, Any]]:
    """Start the database *name*, and yield its entry of ``DATABASES``."""
    # As pytest finds it.
    sys.path.append(str(Path(__file__).parents[2] / "testproject"))
    import server_binaries
    import servers

    if name == "sqlite":
        wal = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE"}
        path = str(place / "sessions.sqlite3")
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": wal}
        return
    kind, binary = {
        "postgresql": (servers.PostgreSQLServer, server_binaries.postgres_binary),
        "mariadb": (servers.MariaDBServer, server_binaries.mariadb_binary),
    }[name]
    # A million rows are more than the servers of the tests hold.
    options = {
        "postgresql": ["-cshared_buffers=256MB", "-cmax_wal_size=4GB"],
        "mariadb": ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M"],
    }[name]
    with kind(binary(place), place / name, *options) as server:
        yield {**server.settings, "CONN_MAX_AGE": None}


def main() -> None:
    """Print a row for each engine on each database."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("sqlite", "postgresql", "mariadb")
    parser.add_argument(
        "databases", nargs="*", default=names, metavar="DATABASE", help=", ".join(names)
    )
    parser.add_argument("--expired", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=100_000)
    parser.add_argument("--together", type=int, metavar="ROWS", help="of one transaction of ours")
    chosen = parser.parse_args()
    write_row(*HEAD)
    write_row(*["-"] * len(HEAD))
    for name in chosen.databases:
        with tempfile.TemporaryDirectory() as place, database(name, Path(place)) as entry:
            for engine, path in ENGINES.items():
                site = Site(entry, path)
                keys = in_process(fill, site, chosen.expired, chosen.live)
                _, before, _ = beside_visits(site, keys, alone)
                together = chosen.together if engine == "database" else None
                (seconds, megabytes), visits, failed = beside_visits(site, keys, purge, together)
                write_row(
                    name,
                    engine,
                    f"{chosen.expired / seconds:,.0f}",
                    f"{megabytes:.0f}",
                    f"{percentile(before):.0f}",
                    f"{percentile(visits):.0f}",
                    f"{max(visits) * 1000:.0f}",
                    f"{failed} of {len(visits)}",
                )


def percentile(seconds: list[float]) -> float:
    """Return what 99 of 100 requests took at most, in milliseconds."""
    return statistics.quantiles(seconds, n=100)[-1] * 1000


if __name__ == "__main__":
    main()
