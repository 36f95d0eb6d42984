"""``manage.py clearsessions``: removes expired sessions, in batches."""

from __future__ import annotations

import argparse
import dataclasses
import signal
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.management.commands import clearsessions
from django.core.management.base import CommandError
from django.utils import timezone

from django_multisession.core.records import to_milliseconds
from django_multisession.drivers.base import Driver, Purging, run
from django_multisession.exceptions import StoreUnavailable
from django_multisession.management import clearing
from django_multisession.management.clearing import Limits, Tally
from django_multisession.management.progress import (
    SIGNALLED,
    StopSignals,
    stopwatch,
    with_bar,
    with_lines,
)
from django_multisession.session.store import PURGE_BATCH, DriverSessionStore
from django_multisession.settings import conf

#: What only our engines can honour, by the names under which it is parsed.
_OPTIONS = {
    "batch_size": "--batch-size",
    "max_seconds": "--max-seconds",
    "dry_run": "--dry-run",
    "as_json": "--json",
}


class Command(clearsessions.Command):
    """Django's command of this name, with options for the engines of this package."""

    help = (
        "Remove expired sessions, in batches. Safe to interrupt, to run again, and to run on "
        "several machines concurrently. For an engine of another package it does what Django's "
        "command does, without the options."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See BaseCommand.add_arguments()."""
        # Without types: call_command() passes them by, and one wrong value gets one message.
        parser.add_argument(
            "--batch-size",
            metavar="N",
            help="Sessions to remove per batch. Ctrl-C and --max-seconds act between batches. "
            f"Default: {PURGE_BATCH}.",
        )
        parser.add_argument(
            "--max-seconds", metavar="S", help="Stop after the batch that passes this time."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would go, and remove nothing."
        )
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print one JSON object instead of a sentence.",
        )

    def handle(self, **options: Any) -> None:
        """See BaseCommand.handle()."""
        store: type[SessionBase] = import_module(conf.given("SESSION_ENGINE")).SessionStore
        if not issubclass(store, DriverSessionStore):
            _refuse(options, store)
            super().handle(**options)
            return
        limits = _limits(options)
        driver = store.get_driver()
        is_told, as_json = options["verbosity"] > 0, options["as_json"]
        tallies = (
            _counting(driver) if options["dry_run"] else self._clearing(driver, limits, is_told)
        )
        tally, failure = Tally(is_dry_run=options["dry_run"]), None
        try:
            for tally in tallies:  # noqa: B007  (the last one counts, also where the next one fails)
                pass
        except StoreUnavailable as error:
            failure = error
            tally = dataclasses.replace(tally, stopped_by=clearing.BY_OUTAGE)
        by_itself = not isinstance(driver, Purging)
        said = clearing.described(tally, expires_by_itself=by_itself)
        if as_json:
            engine = store.__module__
            self.stdout.write(clearing.as_json(tally, engine=engine, expires_by_itself=by_itself))
        if failure is not None:
            raise CommandError(f"{failure} {said}") from failure
        if tally.stopped_by and tally.stopped_by in signal.Signals.__members__:
            raise CommandError(said, returncode=SIGNALLED + signal.Signals[tally.stopped_by])
        if is_told and not as_json:
            self.stdout.write(said)

    def _clearing(self, driver: Driver, limits: Limits, is_told: bool) -> Iterator[Tally]:
        """Remove expired sessions and report the progress."""
        elapsed = stopwatch()
        # Read once: what expires from here on is the next run's, or this one might never end.
        now = to_milliseconds(timezone.now())
        is_seen = is_told and self.stderr.isatty()
        expired = _total(driver, now) if is_seen else None
        with StopSignals() as signals:
            tallies = clearing.clear(
                lambda limit: _purge(driver, now, limit),
                limits,
                elapsed,
                signals.first,
            )
            if is_seen:
                tallies = with_bar(tallies, self.stderr, lambda tally: tally.removed, expired)
            elif is_told:
                tallies = with_lines(tallies, self.stderr, clearing.progress_line)
            yield from tallies


def _refuse(options: Mapping[str, Any], store: type[SessionBase]) -> None:
    given = [
        option
        for name, option in _OPTIONS.items()
        if options[name] is not None and options[name] is not False
    ]
    if given:
        raise CommandError(
            f"{' and '.join(given)} must be left out unless SESSION_ENGINE is an engine of "
            f"django_multisession (got {store.__module__})."
        )


def _limits(options: Mapping[str, Any]) -> Limits:
    size, seconds = options["batch_size"], options["max_seconds"]
    try:
        return Limits(
            batch_size=PURGE_BATCH if size is None else clearing.read_batch_size(size),
            max_seconds=None if seconds is None else clearing.read_max_seconds(seconds),
        )
    except ValueError as error:
        raise CommandError(str(error)) from None


def _purge(driver: Driver, now: int, limit: int) -> int:
    # Where a server has nothing to purge, it removes what expired by itself.
    return run(driver.purge_expired(now, limit)) if isinstance(driver, Purging) else 0


def _count(driver: Driver, now: int) -> int:
    return run(driver.count_expired(now)) if isinstance(driver, Purging) else 0


def _counting(driver: Driver) -> Iterator[Tally]:
    elapsed = stopwatch()
    expired = _count(driver, to_milliseconds(timezone.now()))
    yield Tally(is_dry_run=True, expired=expired, seconds=elapsed())


def _total(driver: Driver, now: int) -> int | None:
    """Return how many there are to remove; None if counting so many takes the server too long."""
    try:
        return _count(driver, now)
    except StoreUnavailable:
        # If the server is down, the first batch reports it.
        return None
