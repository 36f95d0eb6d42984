"""Reads one setting after the other, notes what is wrong and goes on with the default: pure.

So that a check reports every wrong setting.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django_multisession.core.lifetime import LONGEST_TIMEOUT
from django_multisession.core.limits import is_limit
from django_multisession.core.problems import Problem
from django_multisession.core.secret import SecretBytes
from django_multisession.settings.check_ids import Check

#: Bytes: as many as AES-256 uses.
SHORTEST_SECRET = 32
#: How the names of our settings begin.
OURS = "MULTISESSION_"
#: How ``SESSION_ENGINE`` begins where it is one of ours.
ENGINE_PREFIX = "django_multisession.engines."


class SettingReader:
    """Reads attributes of *settings*.

    Attributes:
        problems: What was wrong so far.
        names: Of the settings that there are.
    """

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self.problems: list[Problem] = []
        self.names: set[str] = set()

    def timeout(self, name: str, check: Check, default: timedelta | None) -> timedelta | None:
        """Read a timeout; None switches it off."""
        value = self._given(name, default)
        if value is None:
            return None
        if (timeout := _as_timeout(value)) is not None:
            return timeout
        self.problem(
            check,
            f"{name} must be a timedelta or a number of seconds, from one second to 100 years, or None "
            f"(got {value!r}).",
            "Remove the setting for the default; timedelta comes from the datetime module.",
        )
        return default

    def value(
        self,
        name: str,
        check: Check,
        default: Any,
        expected: str,
        is_right: Callable[[Any], bool],
    ) -> Any:
        """Read a setting that is right if *is_right* says so."""
        value = self._given(name, default)
        if is_right(value):
            return value
        self.problem(
            check,
            f"{name} must be {expected} (got {value!r}).",
            f"Remove the setting for the default, {default!r}.",
        )
        return default

    def moment(self, name: str, check: Check) -> datetime | None:
        """Read a moment."""
        moment: datetime | None = self.value(
            name,
            check,
            None,
            "a datetime or None",
            lambda value: value is None or isinstance(value, datetime),
        )
        return moment

    def choice(self, name: str, check: Check, choices: Sequence[str]) -> str:
        """Read one of *choices*, the first of which is the default."""
        expected = " or ".join(f'"{choice}"' for choice in choices)
        chosen: str = self.value(name, check, choices[0], expected, lambda value: value in choices)
        return chosen

    def functions(self, name: str, check: Check, find: Callable[[str], Any]) -> Mapping[str, Any]:
        """Read a dict from names to dotted paths of functions, which *find* imports."""
        value = self._given(name, {})
        if not isinstance(value, dict) or not all(
            isinstance(text, str) for item in value.items() for text in item
        ):
            self.problem(
                check,
                f"{name} must be a dict of names and dotted paths (got {value!r}).",
                f'{name} = {{"cart": "django_multisession.resolvers.union"}}',
            )
            return types.MappingProxyType({})
        functions = {}
        for key, path in value.items():
            functions[key], found = _found(path, find)
            if found:
                self.problem(
                    check,
                    f"{name}[{key!r}] must be the dotted path of a function (got {path!r}: "
                    f"{found}).",
                    "Is it spelled right? django_multisession.resolvers holds some.",
                )
        return types.MappingProxyType(functions)

    def function(self, name: str, check: Check, find: Callable[[str], Any]) -> Any:
        """Read the dotted path of a function, which *find* imports, or None."""
        path = self._given(name, None)
        if path is None:
            return None
        function, found = _found(path, find)
        if not found:
            return function
        self.problem(
            check,
            f"{name} must be the dotted path of a function or None (got {path!r}: {found}).",
            "Is it spelled right? Remove the setting for the default, None.",
        )
        return None

    def limit(
        self, name: str, check: Check, find: Callable[[str], Any]
    ) -> int | Callable[[str], Any] | None:
        """Read a number of sessions, or a function of a user that *find* imports by its path."""
        value, found = self._given(name, None), ""
        if isinstance(value, str):
            function, found = _found(value, find)
            if not found:
                return function  # type: ignore[no-any-return]  # it is one
            found = f": {found}"
        elif value is None or callable(value) or is_limit(value):
            return value  # type: ignore[no-any-return]  # narrowed by hand
        self.problem(
            check,
            f"{name} must be a whole number, 1 or more, a function of a user's id or its dotted path, "
            f"or None (got {value!r}{found}).",
            "Remove the setting for no limit.",
        )
        return None

    def secrets(self, name: str, check: Check) -> Mapping[str, SecretBytes | None]:
        """Read a dict of names and secrets; None stands for a secret that was removed.

        A secret is text or bytes, the `Path` of a file that holds it, or a function that returns it.
        Nothing that is reported holds one.
        """
        given = self._given(name, {})
        if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
            self.problem(
                check,
                f"{name} must be a dict of names and keys (got {type(given).__name__}).",
                f'{name} = {{"2026-11": os.environ["SESSION_ENCRYPTION_KEY"]}}',
            )
            return types.MappingProxyType({})
        found: dict[str, SecretBytes | None] = {}
        for key in given:
            secret = None if given[key] is None else _secret_in(given, key)
            if isinstance(secret, str):
                self.problem(
                    check,
                    f"{name}[{key!r}] must be a secret of at least {SHORTEST_SECRET} bytes, the Path of "
                    "a file that holds it, a function that returns it, or None for a key that was removed "
                    f"(got {secret}).",
                    "Make one: openssl rand -base64 32",
                )
            else:
                found[key] = secret
        return types.MappingProxyType(found)

    def name_in(self, secrets: Mapping[str, object], name: str, check: Check) -> str | None:
        """Read the name of one of *secrets* that is there, or None; the first one is the default.

        What is given instead isn't reported: it may be a secret.
        """
        there = [key for key, secret in secrets.items() if secret is not None]
        value = self._given(name, next(iter(there), None))
        if value is None or (isinstance(value, str) and value in there):
            return value
        self.problem(
            check,
            f"{name} must be None, or the name of a key that isn't None: "
            f"{', '.join(map(repr, there)) or 'there is none'} (got another {type(value).__name__}).",
            "Remove the setting for the first of them.",
        )
        return None

    def problem(self, check: Check, message: str, hint: str) -> None:
        """Note what is wrong."""
        self.problems.append(check.found(message, hint))

    def _given(self, name: str, default: Any) -> Any:
        self.names.add(name)
        return getattr(self._settings, name, default)


def _found(path: Any, find: Callable[[str], Any]) -> tuple[Any, str]:
    """Return the function that *find* finds under *path*, and what is there instead."""
    if not isinstance(path, str):
        return None, f"a {type(path).__name__}"
    try:
        function = find(path)
    except Exception as error:  # noqa: BLE001  (whatever the module raises as it is imported)
        return None, f"{type(error).__name__} at its import"
    return function, "" if callable(function) else f"a {type(function).__name__}"


def _secret_in(given: Mapping[str, Any], key: str) -> SecretBytes | str:
    """Return the secret that *given* holds or leads to under *key*, or what is there instead.

    No name here holds it: an error page shows what frames hold.
    """
    if not isinstance(given[key], str | bytes):
        try:
            if isinstance(given[key], Path):
                return _secret_in({key: given[key].read_bytes().strip()}, key)
            if callable(given[key]):
                return _secret_in({key: given[key]()}, key)
        except Exception as error:  # noqa: BLE001  (whatever the function raises)
            return type(error).__name__
        return f"a {type(given[key]).__name__}"
    secret = SecretBytes(given[key].encode() if isinstance(given[key], str) else given[key])
    return secret if len(secret) >= SHORTEST_SECRET else f"{len(secret)} bytes"


def in_seconds(time: timedelta) -> str:
    """Return *time* as a message tells it: ``1209600``, ``1.5``."""
    return f"{time.total_seconds():.15g}"


def _as_timeout(value: Any) -> timedelta | None:
    """Return *value* as a time from a second to a century, or None if it isn't one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            value = timedelta(seconds=value)
        except (OverflowError, ValueError):
            return None
    is_right = isinstance(value, timedelta) and timedelta(seconds=1) <= value <= LONGEST_TIMEOUT
    return value if is_right else None
