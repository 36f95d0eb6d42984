"""``manage.py migratesessions``: moves the sessions of the engine that the site left, in bulk."""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from django_multisession import signals
from django_multisession.exceptions import StoreUnavailable
from django_multisession.management import clearing, migrating
from django_multisession.management.listing import Listing, listing_of
from django_multisession.management.migrating import Count
from django_multisession.management.progress import LINE_SECONDS
from django_multisession.session.store import DriverSessionStore
from django_multisession.settings import conf
from django_multisession.sources import source_of

#: How many sessions one query brings.
BATCH = 1000
#: After so many failures in a row it is asked whether the old engine answers at all: each is a wait.
MOST_FAILURES = 10


class Command(BaseCommand):
    """Moves sessions that no client has come with yet."""

    help = (
        "Move the sessions of the engine that MULTISESSION_MIGRATE_FROM names to SESSION_ENGINE. "
        "Each is read back before the old copy is removed. Safe to interrupt, to run again, and to "
        "run while the site serves requests. Run it after the switch: a process that still runs the "
        "old engine would find its sessions gone."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See BaseCommand.add_arguments()."""
        # Without a type: call_command() passes it by, and a wrong value gets one message.
        parser.add_argument(
            "--batch-size", metavar="N", help=f"Sessions to read per query. Default: {BATCH}."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be moved, and move nothing."
        )

    def handle(self, **options: Any) -> None:
        """See BaseCommand.handle()."""
        store, listing = _engines()
        given = options["batch_size"]
        try:
            size = BATCH if given is None else clearing.read_batch_size(given)
        except ValueError as error:
            raise CommandError(str(error)) from None
        try:
            count = Count(total=listing.count(size))
        except StoreUnavailable as error:
            raise CommandError(f"{error} Nothing was moved.") from error
        if options["dry_run"]:
            self._say(options, f"Dry run: {count.total:,} live sessions in the old engine.")
            return

        def note_dropped(dropped_entries: tuple[str, ...], **_kwargs: Any) -> None:
            count.note_dropped(dropped_entries)

        signals.session_adopted.connect(note_dropped, sender=store, weak=False)
        try:
            self._move(store, listing, size, count, is_told=options["verbosity"] > 0)
        except KeyboardInterrupt:
            said = migrating.described(count, _left(listing, size))
            raise CommandError(f"Stopped by Ctrl-C. {said}", returncode=130) from None
        except StoreUnavailable as error:
            count.failed += 1
            raise CommandError(
                f"{error} {migrating.described(count, _left(listing, size))}"
            ) from error
        finally:
            signals.session_adopted.disconnect(note_dropped, sender=store)
        said = migrating.described(count, _left(listing, size))
        if count.failed:
            raise CommandError(said)
        self._say(options, said)

    def _move(
        self,
        store: type[DriverSessionStore],
        listing: Listing,
        size: int,
        count: Count,
        *,
        is_told: bool,
    ) -> None:
        began, failures = (told := time.monotonic()), 0
        is_seen = is_told and self.stderr.isatty()
        with tqdm(total=count.total, unit=" sessions", disable=not is_seen, leave=False) as bar:
            for session_key, expires_ms in listing.live(size):
                is_moved = store._adopt(session_key, expires_ms)  # noqa: SLF001  (of this package)
                count.note(is_moved)
                bar.update()
                failures = failures + 1 if is_moved is None else 0
                if failures == MOST_FAILURES and _left(listing, size) is None:
                    return
                now = time.monotonic()
                count.seconds = now - began
                if is_told and not is_seen and now - told >= LINE_SECONDS:
                    told = now
                    self.stderr.write(migrating.progress_line(count))

    def _say(self, options: dict[str, Any], said: str) -> None:
        if options["verbosity"] > 0:
            self.stdout.write(said)


def _left(listing: Listing, size: int) -> int | None:
    """Return how many sessions are in the old engine; None if it gives no answer."""
    try:
        return listing.count(size)
    except StoreUnavailable:
        return None


def _engines() -> tuple[type[DriverSessionStore], Listing]:
    """Return the store of the new engine, and what lists the sessions of the old one."""
    migration, engine = conf.migration(), conf.given("SESSION_ENGINE")
    if migration is None:
        raise CommandError(
            "MULTISESSION_MIGRATE_FROM isn't set: there is no engine to move sessions from."
        )
    store = import_module(engine).SessionStore
    if not issubclass(store, DriverSessionStore):
        raise CommandError(
            f"SESSION_ENGINE must be an engine of django_multisession (got {engine!r})."
        )
    listing = listing_of(source_of(migration.engine), store()._inner.site)  # noqa: SLF001  (of this package)
    if listing is None:
        raise CommandError(
            f"{migration.engine!r} can't list its sessions. Each is moved when its client comes."
        )
    return store, listing
