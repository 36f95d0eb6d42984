"""``manage.py endsessions``: ends the sessions of a user, all of them, or those that began before a date."""

from __future__ import annotations

import argparse
import dataclasses
import signal
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from django_multisession import user_sessions
from django_multisession.drivers.base import Enumerable
from django_multisession.exceptions import SessionConflict, StoreUnavailable
from django_multisession.management import clearing, ending, users
from django_multisession.management.ending import Batch, Tally
from django_multisession.management.progress import (
    SIGNALLED,
    StopSignals,
    stopwatch,
    with_bar,
    with_lines,
)
from django_multisession.session.store import DriverSessionStore
from django_multisession.settings import conf

#: How many records one query brings.
BATCH = 1000


class Command(BaseCommand):
    """Ends sessions as `user_sessions` does: their clients are logged out."""

    help = (
        "End the sessions of a user, all sessions, or those that began before a date. Safe to "
        "interrupt, to run again, and to run while the site serves requests."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See BaseCommand.add_arguments()."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--user", metavar="USER", help=users.HELP)
        which.add_argument(
            "--all",
            action="store_true",
            dest="is_all",
            help="Every session that began before the command did, also those without a user.",
        )
        which.add_argument(
            "--before",
            metavar="DATE",
            help="Sessions whose login, or beginning without a user, is earlier than this date, or "
            "this date and time, in the site's time zone.",
        )
        # Without a type: call_command() passes it by, and a wrong value gets one message.
        parser.add_argument(
            "--batch-size",
            metavar="N",
            help=f"Records to read per query. Ctrl-C acts between batches. Default: {BATCH}.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be ended, and end nothing."
        )

    def handle(self, **options: Any) -> None:
        """See BaseCommand.handle()."""
        given = options["batch_size"]
        try:
            size = BATCH if given is None else clearing.read_batch_size(given)
            moment = options["before"]
            before = timezone.now() if moment is None else ending.read_moment(moment)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["user"] is not None:
            said = _end_user(options["user"], is_dry_run=options["dry_run"])
        else:
            said = self._end_many(options, size, before)
        if options["verbosity"] > 0:
            self.stdout.write(said)

    def _end_many(self, options: dict[str, Any], size: int, before: datetime) -> str:
        store, is_dry_run = _store(), options["dry_run"]
        tally, failure = Tally(is_dry_run=is_dry_run), None

        def end_one_batch(cursor: str) -> Batch:
            session = store()
            steps = ending.end_batch(
                session._recognized,  # noqa: SLF001  (of this package)
                cursor,
                size,
                before,
                is_dry_run=is_dry_run,
            )
            return session._run(steps)  # noqa: SLF001  (as above)

        try:
            with StopSignals() as signals:
                tallies = ending.end(
                    end_one_batch, stopwatch(), signals.first, is_dry_run=is_dry_run
                )
                for tally in self._shown(tallies, options):  # noqa: B007  (the last one counts)
                    pass
        except StoreUnavailable as error:
            failure = error
            tally = dataclasses.replace(tally, stopped_by=ending.BY_OUTAGE)
        said = ending.described(tally)
        if failure is not None:
            raise CommandError(f"{failure} {said}") from failure
        if tally.stopped_by == ending.BY_TRAFFIC:
            raise CommandError(said)
        if tally.stopped_by is not None:
            raise CommandError(said, returncode=SIGNALLED + signal.Signals[tally.stopped_by])
        return said

    def _shown(self, tallies: Iterator[Tally], options: dict[str, Any]) -> Iterator[Tally]:
        if options["verbosity"] < 1:
            return tallies
        if self.stderr.isatty():
            return with_bar(tallies, self.stderr, lambda tally: tally.ended)
        return with_lines(tallies, self.stderr, ending.progress_line)


def _end_user(given: str, *, is_dry_run: bool) -> str:
    user = users.named_user(given)
    elapsed = stopwatch()
    try:
        if is_dry_run:
            ended = len(user_sessions.list_sessions(user))
        else:
            ended = user_sessions.end_all_sessions(user)
    except (ImproperlyConfigured, SessionConflict) as error:
        raise CommandError(str(error)) from None
    except StoreUnavailable as error:
        raise CommandError(f"{error} Run the command again.") from error
    return ending.described(
        Tally(ended=ended, seconds=elapsed(), is_complete=True, is_dry_run=is_dry_run)
    )


def _store() -> type[DriverSessionStore]:
    """Return the store of the site's engine, which lists its sessions."""
    engine = conf.given("SESSION_ENGINE")
    store: type[DriverSessionStore] = import_module(engine).SessionStore
    if not issubclass(store, DriverSessionStore):
        raise CommandError(
            f"SESSION_ENGINE must be an engine of django_multisession (got {engine!r})."
        )
    if not isinstance(store.get_driver(), Enumerable):
        raise CommandError(
            f"The engine {engine!r} can't list its sessions, so --all and --before can't end them. "
            "Change SECRET_KEY without a fallback to end all sessions."
        )
    return store
