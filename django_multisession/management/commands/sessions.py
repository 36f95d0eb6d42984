"""``manage.py sessions``: shows the sessions of a user."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from django_multisession.exceptions import StoreUnavailable
from django_multisession.management import users
from django_multisession.user_sessions import UserSession, list_sessions

COLUMNS = ("id", "began", "last use", "ends", "remembered", "device")


class Command(BaseCommand):
    """Shows what `list_sessions` returns: no key, and nothing that is stored in a session."""

    help = "Show the live sessions of a user, the last used one first."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See BaseCommand.add_arguments()."""
        parser.add_argument("user", metavar="USER", help=users.HELP)
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print one JSON list instead of a table.",
        )

    def handle(self, **options: Any) -> None:
        """See BaseCommand.handle()."""
        user = users.named_user(options["user"])
        try:
            found = list_sessions(user)
        except (ImproperlyConfigured, StoreUnavailable) as error:
            raise CommandError(str(error)) from error
        if options["as_json"]:
            self.stdout.write(json.dumps([_as_json(each) for each in found]))
        elif found:
            self.stdout.write(_table([_row(each) for each in found]))
        else:
            self.stdout.write("The user has no live session.")


def _as_json(session: UserSession) -> dict[str, Any]:
    return {
        "id": session.id,
        "user_id": session.user_id,
        "began_at": session.began_at.isoformat(),
        "last_used_at": session.last_used_at.isoformat(),
        "ends_at": None if session.ends_at is None else session.ends_at.isoformat(),
        "is_remembered": session.is_remembered,
        "device": session.device,
    }


def _row(session: UserSession) -> tuple[str, ...]:
    # A terminal would obey what a client put there.
    device = "".join(each if each.isprintable() else "?" for each in session.device)
    return (
        session.id,
        _moment(session.began_at),
        _moment(session.last_used_at),
        "never" if session.ends_at is None else _moment(session.ends_at),
        "yes" if session.is_remembered else "no",
        device,
    )


def _moment(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat(" ", "seconds")


def _table(rows: list[tuple[str, ...]]) -> str:
    rows = [COLUMNS, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
