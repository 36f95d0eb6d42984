"""What is wrong with an engine's options; of a value, which may hold a password, nothing is told."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

from django_multisession.core.problems import Problem
from django_multisession.settings.check_ids import Check

NOT_GIVEN: Final = object()

#: What stands in addresses, and hardly in the name of a cache.
_IN_ADDRESSES = frozenset(":/@")

#: Every engine may have these. Django's error pages show stars for a value of such a name.
CREDENTIALS = ("USERNAME", "PASSWORD")
CLIENT = "OPTIONS"

#: What an error page shows with its value: not Django's `SafeExceptionReporterFilter` names.
_CLEANSED = re.compile("API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[^/?#@]*:[^/?#]+@|[^#]*[?&]password=[^&#]+)", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Keys:
    """Which keys the dict of an engine's setting may have.

    Attributes:
        one_of: Exactly one of them must be there. Without any, the setting may be left out.
        others: May be there.
        renamed: Old name → new name.
        has_client: Has it a client of its own, with `CREDENTIALS` and `CLIENT`?
    """

    one_of: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    has_client: bool = True

    @property
    def known(self) -> tuple[str, ...]:
        """All of them."""
        of_client = (*CREDENTIALS, CLIENT) if self.has_client else ()
        return (*self.one_of, *self.others, *of_client)

    @property
    def expected(self) -> str:
        """What the setting must be, for a message."""
        names = " or ".join(f'"{name}"' for name in self.one_of or self.others)
        return f"a dict with {'either ' if len(self.one_of) > 1 else ''}{names}"


def problems_of(setting: str, options: object, keys: Keys | None, example: str) -> list[Problem]:
    """Report what is wrong with *options*, the value of *setting*."""
    expected = "a dict" if keys is None else keys.expected
    if not _is_dict(options):
        kind = "None" if options is None else type(options).__name__
        found = "nothing" if options is NOT_GIVEN else kind
        return [_unexpected(setting, expected, found, example)]
    if keys is None:
        return []
    if renamed := [name for name in options if name in keys.renamed]:
        return [
            _unknown(setting, name, keys, f"Rename it to {keys.renamed[name]}.") for name in renamed
        ]
    if keys.one_of and sum(name in options for name in keys.one_of) != 1:
        found = f"a dict with {', '.join(_told(options)) or 'nothing in it'}"
        return [_unexpected(setting, expected, found, example)]
    unknown = [name for name in options if name not in keys.known]
    return [
        *(_unknown(setting, name, keys, _hint(setting, name, keys)) for name in _told(unknown)),
        *_wrong_values(setting, options),
    ]


def unfit_engine(setting: str, name: str, expected: str, path: object, example: str) -> Problem:
    """Report that the option *name* of *setting*, which is *path*, names no engine that fits."""
    if not isinstance(path, str):
        found = "nothing" if path is NOT_GIVEN else type(path).__name__
    elif all(part.isidentifier() for part in path.split(".")):
        found = repr(path)
    else:
        found = "a text that isn't a module's path"
    return Check.UNFIT_ENGINE.found(
        f'{setting}["{name}"] must be the path of {expected} (got {found}).', example
    )


def password_in_address(setting: str, options: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the addresses in *options* that hold a password and that an error page shows."""
    for name, value in options.items():
        is_shown = not _CLEANSED.search(name)
        if is_shown and isinstance(value, str) and _PASSWORD_IN_ADDRESS.match(value):
            yield Check.PASSWORD_IN_ADDRESS.found(
                f'{setting}["{name}"] holds a password. Error pages with DEBUG = True and error '
                "reporters show it.",
                f'Take it out of the address: {setting} = {{"{name}": ..., "PASSWORD": '
                'os.environ["..."]}. Django shows stars for it then.',
            )


def address_as_alias(
    setting: str, alias: object, known: Container[str], example: str
) -> Iterator[Problem]:
    """Report that *alias* is none of the *known* caches, but the address of a server."""
    if isinstance(alias, str) and alias not in known and not _IN_ADDRESSES.isdisjoint(alias):
        # A driver quotes an alias that it doesn't find, and an address may hold a password.
        yield Check.ALIAS_IS_ADDRESS.found(
            f'{setting}["CACHE_ALIAS"] must be the name of a cache in CACHES (got an address).',
            f"Write the address as URL: {example}",
        )


def same_tiers(
    setting: str, tiers: Iterable[object], path: object, example: str
) -> Iterator[Problem]:
    """Report that the two *tiers* of *setting* are one engine, that of *path*."""
    front, back = tiers
    if front is back:
        yield Check.SAME_TIERS.found(
            f"The two engines of {setting} must differ (got {path!r} twice).", example
        )


def listed_without_revocation(
    setting: str, options: Mapping[str, Any], example: str
) -> Iterator[Problem]:
    """Report that *options* name what lists sessions, and nothing that ends them."""
    if options.get("LISTED_IN") is not None and options.get("REVOCATION") is None:
        yield Check.LISTED_WITHOUT_REVOCATION.found(
            f"{setting} has LISTED_IN and no REVOCATION. A listed session can't be ended.", example
        )


def _is_dict(options: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(options, Mapping) and all(isinstance(name, str) for name in options)


def _unexpected(setting: str, expected: str, found: str, example: str) -> Problem:
    return Check.ENGINE_SETTING.found(f"{setting} must be {expected} (got {found}).", example)


def _unknown(setting: str, name: str, keys: Keys, hint: str) -> Problem:
    known = ", ".join(sorted(keys.known))
    return Check.UNKNOWN_OPTION.found(
        f"The keys of {setting} must be among {known} (got {name}).", hint
    )


def _hint(setting: str, name: str, keys: Keys) -> str:
    if found := difflib.get_close_matches(name.upper(), keys.known, n=1):
        return f"Rename it to {found[0]}."
    if not keys.has_client:
        return f"Remove it from {setting}."
    return f'Move it into {CLIENT}: {setting} = {{..., "{CLIENT}": {{"{name}": ...}}}}.'


def _wrong_values(setting: str, options: Mapping[str, Any]) -> Iterator[Problem]:
    if not _is_dict(options.get(CLIENT, {})):
        found = type(options[CLIENT]).__name__
        yield Check.WRONG_OPTION.found(
            f'{setting}["{CLIENT}"] must be a dict of the client\'s options (got {found}).',
            f'{setting} = {{..., "{CLIENT}": {{}}}}',
        )
    for name in CREDENTIALS:
        if not isinstance(options.get(name), str | None):
            yield Check.WRONG_OPTION.found(
                f'{setting}["{name}"] must be a string or None (got '
                f"{type(options[name]).__name__}).",
                f"Write it in quotes, or read it from the environment: {setting} = {{..., "
                f'"{name}": os.environ["..."]}}',
            )


def _told(names: Iterable[str]) -> list[str]:
    """Return *names* for a message; what isn't a name may be a URL with a password."""
    return sorted(
        {name if name.isidentifier() else "a name that isn't an option's" for name in names}
    )
