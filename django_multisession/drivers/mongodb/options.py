"""Which options and limits MongoDB's clients get; of wrong options names are told, and no values."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final
from urllib.parse import parse_qsl

from django.core.exceptions import ImproperlyConfigured
from pymongo import common
from pymongo import timeout as time_limit
from pymongo.errors import PyMongoError

from django_multisession.drivers.addresses import told_of

_SCHEMES = ("mongodb://", "mongodb+srv://")
_OURS: Final = frozenset({"URI", "DATABASE", "COLLECTION"})
_DEFAULTS = {
    "appname": "django-multisession",
    "connectTimeoutMS": 2000,
    "maxPoolSize": 50,
    "serverSelectionTimeoutMS": 2000,
    "timeoutMS": 2000,
    "waitQueueTimeoutMS": 2000,
}
#: Ours sends the same revision again. A URI copied from Atlas says retryWrites=true and does not
#: mean it; who does mean it says so in the options.
_NO_RETRIES = {"retryReads": False, "retryWrites": False}
#: A parameter of the client's, and so none of the options that PyMongo has a list of.
_PARAMETER = "port"


def require_uri(uri: object) -> None:
    """Require that *uri* looks like one. PyMongo takes any other text for the name of a host.

    Raises:
        ImproperlyConfigured: It does not.
    """
    if not (isinstance(uri, str) and uri.startswith(_SCHEMES)):
        raise ImproperlyConfigured(
            'MULTISESSION_MONGODB["URI"] must be a mongodb:// or mongodb+srv:// URI '
            f"(got {told_of(uri)})."
        )


def hosts_of(uri: str) -> str:
    """Return the hosts in *uri*, without user and password: for messages."""
    rest = uri.partition("://")[2]
    return re.split(r"[/?]", rest.rpartition("@")[2], maxsplit=1)[0]


def client_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options of a client, and our defaults where neither they nor the URI speak."""
    given = _given(options)
    # Not PyMongo's parse_uri, which asks the DNS for mongodb+srv.
    query = str.partition(options["URI"], "?")[2].replace(";", "&")
    in_options = {name.lower() for name in given}
    in_uri = {name.lower() for name, _ in parse_qsl(query)}
    defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in in_uri}
    ours = {
        name: value
        for name, value in (defaults | _NO_RETRIES).items()
        if name.lower() not in in_options
    }
    return ours | given


def complaint(options: Mapping[str, Any], error: Exception) -> str:
    """Return what is told of *options* that PyMongo refused with *error*.

    Its text may hold values: a piece of the URI's password, or what was given for an option.
    """
    unknown, wrong = [], []
    for name, value in _given(options).items():
        if name == _PARAMETER:
            continue
        if name.lower() not in common.VALIDATORS:
            unknown.append(_unknown(name))
            continue
        try:
            common.validate(name, value)
        except (PyMongoError, TypeError, ValueError, OSError):
            wrong.append(f"a wrong value of {name}")
    if not (unknown or wrong):
        return f"MULTISESSION_MONGODB must be what PyMongo takes (got {type(error).__name__})."
    found = ", ".join([*unknown, *wrong])
    return f"MULTISESSION_MONGODB must hold options that PyMongo takes (got {found})."


def time_left(sessions: Any, began_at: float) -> AbstractContextManager[None]:
    """Limit a further try of a command that *began_at* to what is left of its time limit.

    A monitor that finds a server down closes the connections of the commands that wait for it, at
    any moment. Tried again with a limit of its own, a command could wait twice as long as it may.
    """
    limit = sessions.database.client.options.timeout
    if not limit:
        return nullcontext()
    # Zero would be no limit.
    return time_limit(max(began_at + limit - time.monotonic(), 1e-6))


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OURS}


def _unknown(name: str) -> str:
    # PyMongo spells them in small letters, and takes them in any.
    resembled = difflib.get_close_matches(name.lower(), common.VALIDATORS, n=1)
    meant = f": is it {resembled[0]}?" if resembled else ""
    return f"the unknown option {name}{meant}"
