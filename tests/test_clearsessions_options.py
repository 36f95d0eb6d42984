"""``manage.py clearsessions``: its options, engines of other packages, and its reference page."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.sessions.management.commands import clearsessions as django_command
from django.contrib.sessions.models import Session
from django.core.management import get_commands
from django.core.management.base import CommandError

from django_multisession.drivers.memory import MemoryDriver
from django_multisession.management import clearing
from django_multisession.management.clearing import Tally
from django_multisession.management.commands import clearsessions
from django_multisession.testing.rows import for_each
from tests.clearsessions_calls import Put, clear, put
from tests.rows import restoring

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock

__all__ = ["put"]

# Options


@for_each("value", ["0", "-1", "2.5", "many", "", "1e3"])
def test_a_batch_size_that_is_none_is_named(put: Put, value: str) -> None:
    with pytest.raises(CommandError) as caught:
        clear(f"--batch-size={value}")
    assert str(caught.value) == (f"--batch-size must be a whole number, 1 or more (got {value!r}).")


@for_each("value", ["-1", "nan", "inf", "soon", ""])
def test_a_time_limit_that_is_none_is_named(put: Put, value: str) -> None:
    with pytest.raises(CommandError) as caught:
        clear(f"--max-seconds={value}")
    assert str(caught.value) == (
        f"--max-seconds must be a number of seconds, 0 or more (got {value!r})."
    )


@for_each("given", [{"batch_size": 0}, {"batch_size": True}, {"max_seconds": -1}])
def test_code_that_calls_the_command_gets_the_same_errors(put: Put, given: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match=" must be "):
        clear(**given)


def test_code_may_call_the_command_with_numbers(put: Put) -> None:
    put(MemoryDriver(), expired=3)
    told = json.loads(clear(batch_size=1, max_seconds=0.0, json=True)[0])
    assert told["removed"] == 1


# Engines that are not ours


@pytest.mark.django_db
def test_another_engine_gets_what_djangos_command_does(settings: Settings, clock: Clock) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    for days in (-1, 1):
        Session.objects.create(session_key=f"{days}", expire_date=clock.now + timedelta(days=days))
    assert clear() == ("", "")
    assert [session.session_key for session in Session.objects.all()] == ["1"]


@for_each(
    ("options", "named"),
    [
        (["--batch-size=5"], "--batch-size"),
        (["--max-seconds=0"], "--max-seconds"),
        (["--dry-run"], "--dry-run"),
        (["--json"], "--json"),
        (["--json", "--dry-run"], "--dry-run and --json"),
    ],
)
@restoring
def test_an_option_that_another_engine_cannot_honour_is_refused(
    settings: Settings, options: list[str], named: str
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    with pytest.raises(CommandError) as caught:
        clear(*options)
    assert str(caught.value) == (
        f"{named} must be left out unless SESSION_ENGINE is an engine of django_multisession "
        "(got django.contrib.sessions.backends.db)."
    )


@for_each(
    ("apps", "owner"),
    [
        (["django_multisession", "django.contrib.sessions"], "django_multisession"),
        (["django.contrib.sessions", "django_multisession"], "django.contrib.sessions"),
        (["django_multisession"], "django_multisession"),
    ],
)
@restoring
def test_the_app_that_comes_first_has_the_command(
    settings: Settings, apps: list[str], owner: str
) -> None:
    settings.INSTALLED_APPS = apps
    assert get_commands()["clearsessions"] == owner


# The reference


def documented(heading: str) -> list[str]:
    """Return what the table below *heading* begins its rows with."""
    page = Path(__file__).parents[1] / "docs" / "reference" / "clearsessions.md"
    section = page.read_text(encoding="utf-8").partition(heading)[2].partition("\n\nThe ")[0]
    return re.findall(r"^\| `([^` ]+)", section.partition("\n## ")[0], re.MULTILINE)


def test_every_option_is_in_the_reference() -> None:
    ours, djangos = (
        re.findall(r"--[a-z-]+", of.Command().create_parser("manage.py", "").format_usage())
        for of in (clearsessions, django_command)
    )
    added = [option for option in ours if option not in djangos]
    assert documented("## Options") == [*added, "--verbosity"]


def test_every_field_of_the_json_is_in_the_reference() -> None:
    fields = json.loads(clearing.as_json(Tally(), engine="", expires_by_itself=True))
    assert documented("With `--json`:") == list(fields)
