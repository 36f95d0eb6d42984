"""A user with sessions on an engine that finds them, and the functions that end these, sync and async."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest

from django_multisession import user_sessions
from django_multisession.core.keys import Verified
from django_multisession.drivers.base import run as carry_out
from django_multisession.store import DriverSessionStore
from django_multisession.testing.verbs import Run, open_runner
from tests.engine_fixtures import LISTED, LISTED_COOKIE, Engine, use_engine

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

INDEXED = (
    "memory",
    "redis-6.2",
    "redis-8.2",
    "mongodb-standalone",
    "database-sqlite",
    "database-postgresql",
    "database-mariadb",
    "tiered-redis-mongodb",
    LISTED,
    LISTED_COOKIE,
)

_numbers = itertools.count(1000)


@pytest.fixture(autouse=True)
def thread_of_sync_code(closed_connections: None) -> None:
    """Close what each test leaves open there."""


@pytest.fixture(params=INDEXED)
def engine(request: pytest.FixtureRequest, settings: Settings, running_servers: Running) -> Engine:
    """Every engine that finds the sessions of a user."""
    return use_engine(request.param, settings, running_servers)


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Iterator[Run | None]:
    run, close = open_runner(request.param)
    yield run
    close()


@dataclasses.dataclass(frozen=True)
class Functions:
    """The functions of `user_sessions`, or their async counterparts, and the verbs of a session."""

    run: Run | None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self.call(user_sessions, name, *arguments)

    def call(self, owner: Any, name: str, *arguments: Any) -> Any:
        if self.run is None:
            return getattr(owner, name)(*arguments)
        return self.run(getattr(owner, f"a{name}")(*arguments))


@pytest.fixture
def functions(run: Run | None) -> Functions:
    return Functions(run)


@pytest.fixture
def user() -> User:
    return make_user()


def make_user() -> User:
    """Return a user of whom no other test has sessions; no database holds them."""
    return User(pk=next(_numbers), username="ada")


def log_in(store: DriverSessionStore, user: User) -> None:
    """Do to *store* what Django's ``login()`` does, without a save."""
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = "x"


@dataclasses.dataclass(frozen=True)
class Client:
    """A browser that is logged in."""

    engine: Engine
    functions: Functions
    session_key: str

    def opened(self) -> DriverSessionStore:
        return self.engine.SessionStore(self.session_key)

    def request(self) -> HttpRequest:
        request = HttpRequest()
        request.session = self.opened()
        return request

    @property
    def is_logged_in(self) -> bool:
        store = self.opened()
        value = (
            store.get(SESSION_KEY)
            if self.functions.run is None
            else self.functions.run(store.aget(SESSION_KEY))
        )
        return value is not None

    @property
    def place(self) -> str:
        verified = self.opened()._recognized.key
        assert isinstance(verified, Verified)
        return verified.storage_key


def stored_record(engine: Engine, client: Client) -> Any:
    """Return the record of *client*'s session, as the store has it."""
    if engine.name == LISTED_COOKIE:
        pytest.skip("clients hold the records; tests/listed forges the cards")
    return carry_out(engine.driver.get(client.place))


def ending_verb(engine: Engine) -> str:
    """Return the verb of the first command that ends listed sessions."""
    return "get" if engine.name == LISTED_COOKIE else "delete_many"


Login = Callable[..., Client]


@pytest.fixture
def login(engine: Engine, functions: Functions) -> Login:
    """Log a user in, with a new browser."""

    def logged_in(user: User, **entries: Any) -> Client:
        store = engine.SessionStore()
        log_in(store, user)
        for name, value in entries.items():
            store[name] = value
        functions.call(store, "save")
        assert store.session_key is not None
        return Client(engine, functions, store.session_key)

    return logged_in
