"""Records the user agent and the address of each login in its session, where the settings ask for it."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.core.signals import setting_changed

from django_multisession.core.devices import (
    ADDRESS_ENTRY,
    USER_AGENT_ENTRY,
    clean_user_agent,
    shown_address,
)
from django_multisession.drivers.log_lines import TEN_A_MINUTE, Line
from django_multisession.settings import conf
from django_multisession.settings.rules.options import NOT_GIVEN
from django_multisession.settings.values import Config
from django_multisession.store import DriverSessionStore

#: What it raises isn't shown: it may name the client.
NO_ADDRESS = Line(
    logging.getLogger("django_multisession"),
    logging.ERROR,
    "MULTISESSION_CLIENT_ADDRESS raised %s at a login, which recorded no address.",
    TEN_A_MINUTE,
)


_SETTINGS = ("MULTISESSION_RECORD_USER_AGENT", "MULTISESSION_RECORD_ADDRESS")
_UID = "django_multisession.user_sessions.recording"


def connect() -> None:
    """Record what the logins from now on come with, if the settings ask for it."""
    setting_changed.connect(_follow, dispatch_uid=_UID)
    # An async login takes a thread for a receiver.
    if any(conf.given(name) not in (NOT_GIVEN, None, False) for name in _SETTINGS):
        user_logged_in.connect(_record, dispatch_uid=_UID)
    else:
        user_logged_in.disconnect(dispatch_uid=_UID)


def _follow(*, setting: str, **_kwargs: Any) -> None:
    if setting in _SETTINGS:
        connect()


def _record(*, request: Any = None, **_kwargs: Any) -> None:
    store = getattr(request, "session", None)
    # Code that logs in without a session sends the signal, too.
    if not isinstance(store, DriverSessionStore) or not store._recognized.is_login:  # noqa: SLF001  (of this package)
        return
    for name, value in recorded(request, conf.config()).items():
        if value is not None:
            store[name] = value
        elif name in store:
            # The login before this one recorded it.
            del store[name]


def recorded(request: Any, said: Config) -> dict[str, str | None]:
    """Return what a login of *request* records; None for what it doesn't."""
    agent = address = None
    if said.records_user_agent:
        agent = clean_user_agent(request.META.get("HTTP_USER_AGENT"))
    if said.record_address is not None:
        is_truncated = said.record_address == "truncated"
        address = shown_address(_address_of(request, said), is_truncated=is_truncated)
    return {USER_AGENT_ENTRY: agent, ADDRESS_ENTRY: address or None}


def _address_of(request: Any, said: Config) -> object:
    if said.client_address is None:
        return request.META.get("REMOTE_ADDR")
    try:
        return said.client_address(request)
    except Exception as error:  # noqa: BLE001  (the site's code, and a client's headers)
        NO_ADDRESS.write(type(error).__name__)
        return None
