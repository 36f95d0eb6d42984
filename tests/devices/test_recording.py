"""What a login records of its client: in the session, on every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest

from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.testing.rows import for_each
from tests.devices.conftest import Visitor, told
from tests.engine_fixtures import Engine, use_engine
from tests.unit.test_devices import CHROME, FIREFOX, HOSTILE, IPHONE
from tests.user_sessions.conftest import Functions, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

BOTH = {USER_AGENT_ENTRY, ADDRESS_ENTRY}


def last_hop(request: HttpRequest) -> str:
    """Return the address that the site's own proxy has appended."""
    return str(request.META["HTTP_X_FORWARDED_FOR"]).rpartition(",")[2].strip()


def test_a_login_records_agent_and_address_and_the_list_shows_them(
    visitor: Visitor, functions: Functions, user: User
) -> None:
    visitor.log_in(user)
    (found,) = functions.list_sessions(user)
    assert (found.user_agent, found.device) == (FIREFOX, "Firefox on Linux")
    assert found.address == "192.0.2.0/24"


def test_nothing_is_recorded_by_default(
    visitor: Visitor, functions: Functions, settings: Settings, user: User
) -> None:
    del settings.MULTISESSION_RECORD_USER_AGENT
    del settings.MULTISESSION_RECORD_ADDRESS
    store = visitor.log_in(user)
    assert not BOTH & {*functions.call(store, "keys")}
    (found,) = functions.list_sessions(user)
    assert (found.user_agent, found.device, found.address) == ("", "", "")


def test_what_is_recorded_survives_a_new_key_and_a_change(
    visitor: Visitor, functions: Functions, user: User
) -> None:
    store = visitor.log_in(user)
    functions.call(store, "cycle_key")
    functions.call(store, "save")
    later = visitor.engine.SessionStore(store.session_key)
    functions.call(later, "update", {"cart": 1})
    functions.call(later, "save")
    assert visitor.recorded(later) == (FIREFOX, "192.0.2.0/24")


def test_the_next_login_records_its_own(
    visitor: Visitor, functions: Functions, settings: Settings, user: User
) -> None:
    first = visitor.log_in(user)
    second = visitor.log_in(user, CHROME, over=first.session_key, REMOTE_ADDR="2001:db8::1")
    assert visitor.recorded(second) == (CHROME, "2001:db8::/48")
    other = make_user()
    third = visitor.log_in(other, IPHONE, over=second.session_key, REMOTE_ADDR="")
    assert visitor.recorded(third) == (IPHONE, None)
    settings.MULTISESSION_RECORD_USER_AGENT = False
    last = visitor.log_in(other, over=third.session_key)
    assert visitor.recorded(last) == (None, "192.0.2.0/24")


def test_a_second_login_on_a_session_that_ended_meanwhile_records_its_own(
    visitor: Visitor, functions: Functions, user: User
) -> None:
    key = visitor.log_in(user).session_key
    one, other = visitor.enter(user, over=key), visitor.enter(user, over=key)
    for store in (one, other):
        functions.call(store, "save")
        assert visitor.recorded(store) == (FIREFOX, "192.0.2.0/24")


@for_each(
    ("said", "recorded"), [("full", "192.0.2.77"), ("truncated", "192.0.2.0/24"), (None, None)]
)
def test_the_setting_says_how_much_of_an_address_is_recorded(
    visitor: Visitor, settings: Settings, user: User, said: str | None, recorded: str | None
) -> None:
    settings.MULTISESSION_RECORD_ADDRESS = said
    settings.MULTISESSION_RECORD_USER_AGENT = False
    assert visitor.recorded(visitor.log_in(user)) == (None, recorded)


def test_a_header_names_no_address_unless_the_site_says_so(
    visitor: Visitor, settings: Settings, user: User
) -> None:
    forwarded = "203.0.113.9, 198.51.100.4"
    store = visitor.log_in(user, HTTP_X_FORWARDED_FOR=forwarded)
    assert visitor.recorded(store)[1] == "192.0.2.0/24"
    settings.MULTISESSION_CLIENT_ADDRESS = f"{__name__}.last_hop"
    store = visitor.log_in(user, HTTP_X_FORWARDED_FOR=forwarded)
    assert visitor.recorded(store)[1] == "198.51.100.0/24"


def test_a_function_that_raises_breaks_no_login(
    visitor: Visitor, settings: Settings, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MULTISESSION_CLIENT_ADDRESS = f"{__name__}.last_hop"
    assert visitor.recorded(visitor.log_in(user)) == (FIREFOX, None)
    assert "MULTISESSION_CLIENT_ADDRESS raised KeyError at a login" in caplog.text


@for_each("agent", [None, *HOSTILE])
def test_a_hostile_agent_breaks_neither_login_nor_list(
    visitor: Visitor, functions: Functions, agent: str | None
) -> None:
    user = make_user()
    visitor.log_in(user)
    with told(visitor.engine) as sent:
        visitor.log_in(user, agent)
    assert len(sent) == 1
    assert len(functions.list_sessions(user)) == 2


@for_each("entry", [None, 7, ["x"], {"a": 1}])
def test_what_a_site_puts_there_itself_breaks_no_list(
    visitor: Visitor, functions: Functions, entry: Any
) -> None:
    user = make_user()
    store = visitor.enter(user)
    store[USER_AGENT_ENTRY] = store[ADDRESS_ENTRY] = entry
    functions.call(store, "save")
    (found,) = functions.list_sessions(user)
    assert (found.user_agent, found.device, found.address) == ("", "", "")


def test_a_token_login_records_nothing_in_a_session(engine: Engine, user: User) -> None:
    request = HttpRequest()
    request.META["HTTP_USER_AGENT"] = FIREFOX
    store = request.session = engine.SessionStore()
    for each in (request, None, HttpRequest()):
        user_logged_in.send(User, request=each, user=user)
    assert store.is_empty()
    assert not store.modified


@pytest.mark.parametrize("name", ["cookie", "cookie-revocable", "memcached"])
def test_engines_without_a_list_record_it_too(
    name: str, settings: Settings, running_servers: Running, run: Any, user: User
) -> None:
    engine = use_engine(name, settings, running_servers)
    visitor = Visitor(engine, Functions(run))
    with told(engine) as sent:
        for agent in (FIREFOX, CHROME):
            store = visitor.log_in(user, agent)
            assert visitor.recorded(store) == (agent, "192.0.2.0/24")
    assert sent == []


def test_an_async_login_takes_no_thread_where_nothing_is_recorded(settings: Settings) -> None:
    def is_connected() -> bool:
        uid = "django_multisession.user_sessions.recording"
        return any(each[0][0] == uid for each in user_logged_in.receivers)

    assert is_connected()
    settings.MULTISESSION_RECORD_USER_AGENT = False
    assert is_connected()
    settings.MULTISESSION_RECORD_ADDRESS = None
    assert not is_connected()
