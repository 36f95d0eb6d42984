"""What the settings say, as frozen values; `conf` reads them, `rules` judges them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from django_multisession.core.encryption import Ring
from django_multisession.core.lifetime import Policy
from django_multisession.core.merging import Resolver
from django_multisession.core.secret import MacKey
from django_multisession.core.signing import RecordKeys


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """Django's ``SESSION_COOKIE_*``: what a cookie is set, and removed, with."""

    name: str
    path: str
    domain: str | None
    is_secure: bool
    is_http_only: bool
    same_site: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """``MULTISESSION_MIGRATE_*``: whose sessions are adopted.

    Attributes:
        engine: Dotted path of the engine that they come from.
        until_ms: Until when; `NEVER` for no end.
        since_ms: When the site left that engine; `NEVER` if the settings don't say.
    """

    engine: str
    until_ms: int
    since_ms: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the settings say.

    Attributes:
        policy: The timeouts.
        cycle_on_login: Do logins that Django gives no new key get one too?
        on_outage: ``"error"`` or ``"anonymous"``: what a request sees while the server is down.
        on_interrupted: ``"error"`` or ``"ignore"``: what becomes of a request whose changes come
            too late, because its session was ended.
        resolvers: Name of an entry → what merges two requests' changes of it.
        cookie_age: ``SESSION_COOKIE_AGE``, in seconds.
        expire_at_browser_close: ``SESSION_EXPIRE_AT_BROWSER_CLOSE``.
        save_every_request: ``SESSION_SAVE_EVERY_REQUEST``.
        max_size: Bytes a serialized session may have at most.
        namespace: ``MULTISESSION_NAMESPACE``: names the site in what is signed.
        migration: Whose sessions are adopted; None on most sites.
        signing_keys: Sign session keys; derived from ``SECRET_KEY`` and its fallbacks, in order.
        record_keys: Sign records, by their ids; derived likewise.
        adopting_keys: Make new session keys of another engine's; derived likewise.
        encryption: ``MULTISESSION_ENCRYPTION_KEYS``, and which of them encrypts.
        max_sessions: ``MULTISESSION_MAX_SESSIONS``: a number, or a function of the user's id that
            returns one or None.
        at_limit: ``MULTISESSION_AT_LIMIT``: what a login beyond it does.
        end_sessions_on: ``MULTISESSION_END_SESSIONS_ON``: which changes of a user end sessions.
        reauthentication_url: ``MULTISESSION_REAUTHENTICATION_URL``: names the view that asks again.
        records_user_agent: ``MULTISESSION_RECORD_USER_AGENT``.
        record_address: ``MULTISESSION_RECORD_ADDRESS``: ``"truncated"``, ``"full"`` or None.
        client_address: Returns the address of a request's client; None for ``REMOTE_ADDR``.
        cookie_keys: Encrypt sessions that no server holds; derived as *record_keys*.
        read_from: The settings, and the values of theirs that were read.
        names_given: The names of these values.
        names_not_given: Those of the settings that had no value.
    """

    policy: Policy
    cycle_on_login: bool
    on_outage: str
    on_interrupted: str
    resolvers: Mapping[str, Resolver]
    cookie_age: float
    expire_at_browser_close: bool
    save_every_request: bool
    max_size: int
    namespace: str
    migration: Migration | None
    signing_keys: tuple[MacKey, ...] = dataclasses.field(repr=False)
    record_keys: RecordKeys = dataclasses.field(repr=False)
    adopting_keys: tuple[MacKey, ...] = dataclasses.field(repr=False)
    encryption: Ring
    max_sessions: int | Callable[[str], Any] | None
    at_limit: str
    end_sessions_on: frozenset[str]
    reauthentication_url: str
    records_user_agent: bool
    record_address: str | None
    client_address: Callable[[Any], object] | None
    cookie_keys: Ring
    read_from: tuple[object, ...] = dataclasses.field(default=(), repr=False, compare=False)
    names_given: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    names_not_given: frozenset[str] = dataclasses.field(
        default=frozenset(), repr=False, compare=False
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the checks ask of the settings, beyond what a session reads.

    Attributes:
        config: What a session reads, with the default in place of what is wrong, and no keys:
            there may be no ``SECRET_KEY`` yet.
        cookie: ``SESSION_COOKIE_*``.
        engine: ``SESSION_ENGINE``.
        serializer: ``SESSION_SERIALIZER``.
        middleware: ``MIDDLEWARE``.
        installed_apps: ``INSTALLED_APPS``, as they are spelled there.
        our_settings: Names of the ``MULTISESSION_*`` settings that there are.
        given_settings: Names of the ``MULTISESSION_*`` settings that the site has.
    """

    config: Config
    cookie: Cookie
    engine: str
    serializer: str
    middleware: tuple[str, ...]
    installed_apps: tuple[str, ...]
    our_settings: frozenset[str]
    given_settings: frozenset[str]
