"""``manage.py sessions`` and ``manage.py endsessions``."""

from __future__ import annotations

import io
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from django_multisession import signals
from django_multisession.core.records import Tombstone
from django_multisession.drivers.base import Page, Steps
from django_multisession.drivers.base import run as carry_out
from django_multisession.drivers.memory import MemoryDriver, MemoryServer
from django_multisession.engine import close_drivers
from django_multisession.exceptions import StoreUnavailable
from django_multisession.management import ending, progress
from django_multisession.management.commands import endsessions, sessions
from django_multisession.management.ending import BY_TRAFFIC, Batch, Tally, described, read_moment
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions import UserSession, list_sessions
from tests.engine_fixtures import LISTED, LISTED_COOKIE, Engine, use_engine
from tests.user_sessions.conftest import INDEXED, log_in

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

pytestmark = pytest.mark.django_db


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def engine(settings: Settings, running_servers: Running) -> Engine:
    return use_engine("memory", settings, running_servers)


@pytest.fixture(params=INDEXED)
def every_engine(
    request: pytest.FixtureRequest, settings: Settings, running_servers: Running
) -> Engine:
    return use_engine(request.param, settings, running_servers)


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def run(command: Any, *arguments: str, stderr: io.StringIO | None = None) -> tuple[str, str]:
    stdout, stderr = io.StringIO(), stderr or io.StringIO()
    call_command(command.Command(), *arguments, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def end(*arguments: str) -> str:
    return run(endsessions, *arguments)[0].strip()


def begin(engine: Engine, user: User | None = None, number: int = 1) -> list[str]:
    """Return the keys of new sessions, of *user* or of none."""
    keys = []
    for _ in range(number):
        store = engine.SessionStore()
        store["cart"] = "a secret cart"
        if user is not None:
            log_in(store, user)
        store.save()
        keys.append(str(store.session_key))
    return keys


def live(engine: Engine, keys: list[str]) -> list[bool]:
    return [engine.SessionStore().exists(key) for key in keys]


# sessions


def test_a_user_is_shown_with_the_sessions_and_no_key(
    clock: Clock, engine: Engine, ada: User, settings: Settings
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    settings.MULTISESSION_IDLE_TIMEOUT = 3600
    (key,) = begin(engine, ada)
    clock.advance(timedelta(seconds=90))
    (other,) = begin(engine, ada)
    store = engine.SessionStore(other)
    store.set_expiry(0)
    store.save()
    head, first, second = run(sessions, "ada")[0].splitlines()
    assert head.split("  ")[0] == "id"
    assert first.split()[0] == list_sessions(ada)[0].id
    assert "2026-01-01 13:01:30+01:00" in first
    assert "no" in first.split()
    assert second.split()[1:3] == ["2026-01-01", "13:00:00+01:00"]
    assert "2026-01-01 14:00:00+01:00  yes" in second
    printed = run(sessions, "ada")[0] + run(sessions, "ada", "--json")[0]
    place: Any = engine.SessionStore(key)._recognized.key
    for secret in (key, other, key[:22], "secret cart", place.storage_key):
        assert secret not in printed


def test_a_program_gets_a_list(clock: Clock, engine: Engine, ada: User, settings: Settings) -> None:
    settings.MULTISESSION_IDLE_TIMEOUT = settings.MULTISESSION_ABSOLUTE_TIMEOUT = None
    begin(engine, ada)
    (found,) = list_sessions(ada)
    assert json.loads(run(sessions, str(ada.pk), "--json")[0]) == [
        {
            "id": found.id,
            "user_id": str(ada.pk),
            "began_at": "2026-01-01T12:00:00+00:00",
            "last_used_at": "2026-01-01T12:00:00+00:00",
            "ends_at": None,
            "is_remembered": True,
            "device": found.device,
        }
    ]
    assert "never" in run(sessions, "ada")[0]


def test_a_user_without_sessions_has_none_to_show(engine: Engine, ada: User) -> None:
    assert run(sessions, "ada")[0] == "The user has no live session.\n"
    assert run(sessions, "ada", "--json")[0] == "[]\n"


def test_a_terminal_gets_no_control_character_of_a_client() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    shown = UserSession(
        id="a",
        user_id="1",
        began_at=moment,
        last_used_at=moment,
        ends_at=None,
        is_current=False,
        is_remembered=True,
        user_agent="",
        device="\x1b[31mFirefox\r\n",
        address="",
    )
    assert sessions._row(shown)[-1] == "?[31mFirefox??"


@for_each("command", [(sessions, ""), (endsessions, "--user=")])
def test_a_user_is_named_by_the_username_or_the_id(
    engine: Engine, command: tuple[Any, str]
) -> None:
    module, option = command
    ada, _ = User.objects.get_or_create(username="ada")
    eve, _ = User.objects.get_or_create(username=str(ada.pk))
    for given in ("ada", f"id={ada.pk}", str(eve.pk)):
        run(module, option + given)
    with pytest.raises(CommandError, match=f"id={eve.pk} or id={ada.pk}"):
        run(module, f"{option}{ada.pk}")
    for given in ("bob", "", "id=x", "99999", "9" * 20, f"id=-{'9' * 20}"):
        with pytest.raises(CommandError, match="There is no user"):
            run(module, option + given)
    # Of a deleted user there may be sessions.
    run(module, f"{option}id=99999")


def test_an_id_with_its_prefix_is_no_username(engine: Engine, ada: User) -> None:
    other = User.objects.create_user(f"id={ada.pk}")
    keys = begin(engine, ada) + begin(engine, other)
    end("--user", f"id={ada.pk}")
    assert live(engine, keys) == [False, True]


@for_each("given", ["0{}", "{:+}", " {}", "{}_0", "id=0{}", "id= {}", "id={}_0"])
def test_an_id_that_is_written_in_another_way_names_no_user(engine: Engine, given: str) -> None:
    ada, _ = User.objects.get_or_create(username="ada")
    User.objects.get_or_create(pk=ada.pk * 10, username="another")
    with pytest.raises(CommandError, match="There is no user"):
        end("--user", given.format(ada.pk))


# endsessions --user


def test_the_sessions_of_a_user_are_ended(every_engine: Engine, ada: User) -> None:
    keys = begin(every_engine, ada, 3)
    others = begin(every_engine, User(pk=ada.pk + 1)) + begin(every_engine)
    said = "Dry run: 3 sessions would be ended, none was."
    assert end("--user=ada", "--dry-run") == said
    assert live(every_engine, keys) == [True] * 3
    assert end("--user=ada").startswith("Ended 3 sessions in ")
    assert live(every_engine, keys) == [False] * 3
    assert live(every_engine, others) == [True] * 2
    assert end("--user=ada").startswith("Ended 0 sessions in ")


# endsessions --all and --before


def test_all_sessions_are_ended_and_leave_tombstones(
    clock: Clock, every_engine: Engine, ada: User
) -> None:
    heard: list[str] = []

    def hear(reason: str, **_kwargs: Any) -> None:
        heard.append(reason)

    # Another engine lists no sessions but those of users.
    number = 3 if every_engine.name in {LISTED, LISTED_COOKIE} else 5
    keys = begin(every_engine, ada, 3) + begin(every_engine, None, number - 3)
    places: list[Any] = [every_engine.SessionStore(key)._recognized.key for key in keys]
    clock.advance(seconds=1)
    assert end("--all", "--dry-run") == f"Dry run: {number} sessions would be ended, none was."
    assert live(every_engine, keys) == [True] * number
    signals.session_ended.connect(hear)
    try:
        assert end("--all", "--batch-size=2").startswith(f"Ended {number} sessions in ")
    finally:
        signals.session_ended.disconnect(hear)
    assert heard == ["revoked"] * number
    assert live(every_engine, keys) == [False] * number
    for place in places:
        stored = carry_out(every_engine.driver.get(place.storage_key))
        assert isinstance(stored, Tombstone)
    assert end("--all").startswith("Ended 0 sessions in ")


def test_sessions_are_ended_that_began_before_a_moment(
    clock: Clock, every_engine: Engine, ada: User, settings: Settings
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    keys = []
    for _ in range(3):
        keys += begin(every_engine, ada)
        clock.advance(timedelta(hours=6))
    # They were used since, and got new keys.
    store = every_engine.SessionStore(keys[0])
    store.cycle_key()
    store.save()
    keys[0] = str(store.session_key)
    assert end("--before=2026-01-01 13:00").startswith("Ended 0 ")
    assert end("--before=2026-01-01 19:00:00+01:00").startswith("Ended 1 session in ")
    assert live(every_engine, keys) == [False, True, True]
    assert end("--before=2026-01-02").startswith("Ended 1 session in ")
    assert live(every_engine, keys) == [False, False, True]


def test_a_driver_that_finds_no_sessions_of_a_user_ends_one_after_the_other(
    clock: Clock, engine: Engine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = begin(engine, ada, 3)
    clock.advance(seconds=1)
    monkeypatch.delattr(MemoryDriver, "of_user")
    assert end("--all").startswith("Ended 3 sessions in ")
    assert live(engine, keys) == [False] * 3


def test_marks_are_no_sessions_and_stay(clock: Clock, engine: Engine, ada: User) -> None:
    begin(engine, ada)
    end("--user=ada")
    clock.advance(seconds=1)
    assert end("--all").startswith("Ended 0 sessions in ")


def test_sessions_of_another_site_in_the_same_store_are_left(
    clock: Clock, engine: Engine, settings: Settings
) -> None:
    settings.MULTISESSION_NAMESPACE = "one"
    ours = begin(engine)
    settings.MULTISESSION_NAMESPACE = "two"
    theirs = begin(engine)
    settings.MULTISESSION_NAMESPACE = "one"
    clock.advance(seconds=1)
    assert "1 record that this site didn't sign was left." in end("--all")
    assert live(engine, ours) == [False]
    settings.MULTISESSION_NAMESPACE = "two"
    assert live(engine, theirs) == [True]


def test_sessions_that_begin_meanwhile_stay_and_those_that_move_end(
    clock: Clock, engine: Engine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = begin(engine, ada, 4)
    begun: list[str] = []
    clock.advance(seconds=1)
    records = MemoryDriver.records

    def move_and_list(driver: MemoryDriver, cursor: str, limit: int) -> Steps[Page]:
        page = yield from records(driver, cursor, limit)
        if begun:
            return page
        clock.advance(seconds=1)
        begun.extend(begin(engine, ada, 2))
        for number, key in enumerate(keys):
            store = engine.SessionStore(key)
            store.cycle_key()
            store.save()
            keys[number] = str(store.session_key)
        return page

    monkeypatch.setattr(MemoryDriver, "records", move_and_list)
    assert end("--all", "--batch-size=1").startswith("Ended 4 sessions in ")
    assert live(engine, keys) == [False] * 4
    assert live(engine, begun) == [True] * 2


@pytest.mark.parametrize("name", ["cookie", "memcached"])
def test_an_engine_that_lists_nothing_is_named(settings: Settings, ada: User, name: str) -> None:
    settings.SESSION_ENGINE = f"django_multisession.engines.{name}"
    settings.MULTISESSION_MEMCACHED = {"SERVERS": ["127.0.0.1:1"]}
    close_drivers()
    for option in ("--all", "--before=2026-01-01"):
        with pytest.raises(CommandError, match=f"engines.{name}' can't list its sessions"):
            end(option)
    for module, option in ((endsessions, "--user=ada"), (sessions, "ada")):
        with pytest.raises(CommandError, match=f"The engine {name} can't find the sessions"):
            run(module, option)


def test_an_engine_of_django_is_named(settings: Settings, ada: User) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    for module, option in ((endsessions, "--all"), (endsessions, "--user=ada"), (sessions, "ada")):
        with pytest.raises(CommandError, match=r"backends\.cache"):
            run(module, option)


@for_each(
    "arguments",
    [(), ("--all", "--user=ada"), ("--all", "--before=2026-01-01")],
)
def test_one_of_the_three_must_be_given(engine: Engine, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"one of the arguments|not allowed with"):
        end(*arguments)


@for_each("given", ["", "yesterday", "2026-13-01", "2026-01-32 10:00", "1", "2026-01-01 25:00"])
def test_what_is_no_date_ends_nothing(engine: Engine, given: str) -> None:
    with pytest.raises(CommandError, match="--before must be a date"):
        end(f"--before={given}")
    with pytest.raises(ValueError, match="got"):
        read_moment(given)


def test_a_wrong_batch_size_ends_nothing(engine: Engine) -> None:
    with pytest.raises(CommandError, match="--batch-size must be a whole number"):
        end("--all", "--batch-size=0")


# Progress, ends and exit codes


def test_a_terminal_gets_a_bar_and_a_log_a_line(
    clock: Clock, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(engine, None, 3)
    clock.advance(seconds=1)
    _, err = run(endsessions, "--all", "--dry-run", "--batch-size=1", stderr=Terminal())
    assert "\r0 sessions [" in err
    assert err.endswith("\r")
    assert run(endsessions, "--all", "--dry-run", "--batch-size=1")[1] == ""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    _, err = run(endsessions, "--all", "--batch-size=2")
    assert err.splitlines()[0] == "2 sessions ended after 0 s."
    assert run(endsessions, "--all", "--verbosity=0") == ("", "")


def test_an_outage_ends_the_run_and_says_what_was_done(
    clock: Clock, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = begin(engine, None, 3)
    clock.advance(seconds=1)
    answer, listed = MemoryServer.send, []

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == "records":
            listed.append(command)
            if len(listed) == 2:
                raise StoreUnavailable("The server is down.")
        return answer(server, command)

    monkeypatch.setattr(MemoryServer, "send", send)
    with pytest.raises(CommandError) as caught:
        end("--all", "--batch-size=1")
    assert caught.value.returncode == 1
    said = str(caught.value)
    assert said.startswith("The server is down. Ended at least 1 session in ")
    assert said.endswith("Run the command again.")
    assert end("--all").startswith("Ended 2 sessions in ")
    assert live(engine, keys) == [False] * 3


def test_an_end_of_a_user_that_leaves_sessions_is_a_failure(
    clock: Clock, engine: Engine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(engine, ada)
    answer = MemoryServer.send

    def send(server: MemoryServer, command: Any) -> Any:
        if command.verb == "of_user":
            # By a clock that is ahead: such a login isn't spared as a later one.
            clock.advance(timedelta(days=1))
            begin(engine, ada)
            clock.advance(-timedelta(days=1))
        return answer(server, command)

    monkeypatch.setattr(MemoryServer, "send", send)
    with pytest.raises(CommandError, match="still had sessions to end"):
        end("--user", "ada")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_a_batch(
    clock: Clock, engine: Engine, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(engine, None, 3)
    clock.advance(seconds=1)
    end_batch = ending.end_batch

    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), number)
        return end_batch(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(ending, "end_batch", interrupted)
        with pytest.raises(CommandError) as caught:
            end("--all", "--batch-size=1")
    assert caught.value.returncode == 128 + number
    assert str(caught.value).startswith(f"Stopped by {number.name}. Ended 1 session in ")
    assert end("--all").startswith("Ended 2 sessions in ")


def test_a_run_that_never_finds_all_ended_says_so() -> None:
    def batch(_cursor: str) -> Batch:
        return Batch("", 1, 1, 0)

    *_, last = ending.end(batch, lambda: 1.0, lambda: None, is_dry_run=False)
    assert (last.ended, last.is_complete, last.stopped_by) == (16, False, BY_TRAFFIC)
    assert described(last).endswith("There may be more. Run the command again.")


def test_numbers_have_their_nouns() -> None:
    assert described(Tally(ended=1, foreign=2)).startswith("Ended 1 session in 0.0 s. 2 records ")
    assert described(Tally(ended=1234)).startswith("Ended 1,234 sessions in ")


def test_a_date_is_one_of_the_sites_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert read_moment("2026-01-02") == datetime(2026, 1, 1, 23, tzinfo=UTC)
    assert read_moment("2026-01-02 10:30Z") == datetime(2026, 1, 2, 10, 30, tzinfo=UTC)
    assert timezone.is_aware(read_moment("2026-01-02 10:30"))
