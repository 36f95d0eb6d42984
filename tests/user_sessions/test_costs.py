"""What a list and an end of many sessions send: no command for each session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from django_multisession.management.commands import endsessions
from django_multisession.user_sessions import (
    end_all_sessions,
    end_other_sessions,
    end_session,
    list_sessions,
)
from tests.engine_fixtures import LISTED_COOKIE, Engine
from tests.user_sessions.conftest import INDEXED, log_in
from tests.user_sessions.costs import counted

SESSIONS = 300

#: An end of a session in a cookie is a command of its own.
pytestmark = pytest.mark.parametrize(
    "engine", [each for each in INDEXED if each != LISTED_COOKIE], indirect=True
)


@pytest.fixture
def many(engine: Engine, user: User) -> list[str]:
    """Return the keys of the user's sessions."""
    keys = []
    for _ in range(SESSIONS):
        store = engine.SessionStore()
        log_in(store, user)
        store.save()
        keys.append(str(store.session_key))
    return keys


def most_for_many(engine: Engine) -> int:
    """Return the bound for an end of many. memcached takes fifty in a command, and the cards end apart."""
    return 28 if engine.kind == "memcached" else 20


def commands(engine: Engine, work: Callable[[], object]) -> int:
    with counted(engine.driver) as count:
        work()
    return count.commands


def test_a_login_a_list_and_an_end_of_the_others_cost_a_few_commands(
    engine: Engine, user: User, many: list[str], rf: Any
) -> None:
    def login_of(someone: User) -> Callable[[], None]:
        store = engine.SessionStore()
        log_in(store, someone)
        return store.save

    stranger = User(pk=f"alone-{user.pk}", username="eve")
    assert commands(engine, login_of(stranger)) == commands(engine, login_of(user)) <= 2
    assert commands(engine, lambda: list_sessions(user)) <= 6
    request = rf.get("/")
    request.session = engine.SessionStore(many[0])
    assert commands(engine, lambda: end_other_sessions(request)) <= most_for_many(engine)
    request.session.save()
    assert len(list_sessions(user)) == 1


def test_an_end_of_one_reads_the_sessions_once(engine: Engine, user: User, many: list[str]) -> None:
    first, second, third = list_sessions(user)[::140]
    listing = commands(engine, lambda: list_sessions(user))
    ends = [
        commands(engine, functools.partial(end_session, user, each.id)) - listing
        for each in (first, second, third)
    ]
    # The end itself. The front of two tiers is told before and after it. A card ends apart from it.
    most = {"tiered": 3, "memcached": 2}.get(engine.kind, 1)
    assert max(ends) <= most, ends
    assert len(list_sessions(user)) == SESSIONS - 3


def test_an_end_of_all_users_sessions_costs_a_few_commands(
    engine: Engine, user: User, many: list[str]
) -> None:
    counting = commands(engine, lambda: end_all("--dry-run"))
    # The store is read twice. memcached takes fifty ends in a command, and the cards end apart, from
    # a list of Redis that may have a page more while it shrinks.
    most = {"memcached": 10}.get(engine.kind, 7)
    assert commands(engine, end_all) - 2 * counting <= most
    assert list_sessions(user) == []


def end_all(*arguments: str) -> None:
    call_command(endsessions.Command(), "--all", *arguments, verbosity=0)


def test_an_end_of_many_costs_a_few_commands(engine: Engine, user: User, many: list[str]) -> None:
    assert commands(engine, lambda: end_all_sessions(user)) <= most_for_many(engine)
    assert list_sessions(user) == []
