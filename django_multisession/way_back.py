"""Going back: a session of this package's engine goes on in another package's, at its first visit.

`SessionMiddleware` does this where ``SESSION_ENGINE`` is another package's and
``MULTISESSION_MIGRATE_FROM`` one of this package's. The session is stored there under a key of Django's
form, an HMAC of the old key and a token. A mark in the old engine holds the token of the request whose
mark was first, so all requests that come with the old key find one session, and a late one revives none
that was ended there. The session is used only after its record here was ended.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.utils import timezone

from django_multisession.core import keys, merging
from django_multisession.core.keys import Verified
from django_multisession.core.records import Reason, Tombstone, new_revision, to_milliseconds
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.base import Ask, arun, run
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import adopt
from django_multisession.settings.conf import config, current
from django_multisession.sources import BrokenSource, OwnSource, Source, source_of
from django_multisession.store import DriverSessionStore

logger = logging.getLogger("django_multisession")

Result = TypeVar("Result")
Steps = Generator[Ask, Any, Result]


class _Call(NamedTuple):
    """A verb of a store object, whose counterpart an async run awaits."""

    of: Any
    verb: str
    arguments: tuple[Any, ...] = ()


class _Verbs:
    """What carries calls out."""

    def send(self, call: _Call, /) -> Any:
        return getattr(call.of, call.verb)(*call.arguments)

    async def asend(self, call: _Call, /) -> Any:
        return await getattr(call.of, f"a{call.verb}")(*call.arguments)

    def close(self) -> None:
        """Nothing is open."""

    async def aclose(self) -> None:
        """See close()."""


_verbs = _Verbs()


def is_due() -> bool:
    """Do sessions of an engine of this package go back?

    Raises:
        ImproperlyConfigured: The engine can't be imported.
    """
    migration = config().migration
    if migration is None or to_milliseconds(timezone.now()) >= migration.until_ms:
        return False
    source = source_of(migration.engine)
    if isinstance(source, BrokenSource):
        source.require()
    return isinstance(source, OwnSource)


def bring(store: type[SessionBase], session_key: str) -> SessionBase | None:
    """Return the session of a client that came with *session_key*.

    Returns:
        None if that isn't a key of this package's, or leads to no session. Of a client whose session
        couldn't be asked for, an empty one whose response keeps the cookie.

    Raises:
        ImproperlyConfigured: One of the engines can't be opened.
    """
    try:
        return run(_bring(store, session_key))
    except (SynchronousOnlyOperation, ImproperlyConfigured):
        raise
    except Exception as error:  # noqa: BLE001  (whatever an engine raises)
        return _anonymous(store, error)


async def abring(store: type[SessionBase], session_key: str) -> SessionBase | None:
    """See bring()."""
    try:
        return await arun(_bring(store, session_key))
    except ImproperlyConfigured:
        raise
    except Exception as error:  # noqa: BLE001  (as above)
        return _anonymous(store, error)


def keeps_cookie(session: object) -> bool:
    """Is *session* that of a client whose own one couldn't be asked for?"""
    return getattr(session, "_keeps_cookie", False)


def is_change_of_unknown(session: object) -> bool:
    """Did a request change, begin or end a session without a login, where the own one is unknown?"""
    if not (keeps_cookie(session) and isinstance(session, SessionBase)):
        return False
    has_changed = session.modified or session.session_key is not None
    return has_changed and merging.USER_ID_ENTRY not in session


def needs_cookie(session: SessionBase) -> bool:
    """Did *session* come back in this request, and does it still have the key that it got?"""
    return session.session_key is not None and session.session_key == getattr(
        session, "_brought_under", None
    )


def _anonymous(store: type[SessionBase], error: Exception) -> SessionBase:
    Source(store).require()
    # No text of the error: it may hold the address of a server, with a password.
    logger.error(
        "Sessions can't go back to %s: %s. Their clients are anonymous until it answers.",
        store.__module__,
        type(error).__name__,
    )
    session = store()
    session._keeps_cookie = True  # type: ignore[attr-defined]  # noqa: SLF001  (ours, on Django's)
    return session


def _bring(store: type[SessionBase], session_key: str) -> Steps[SessionBase | None]:
    migration = current().migration
    if migration is None:
        return None
    source = source_of(migration.engine)
    signing_keys = current().signing_keys
    namespace = source.store()._inner.site.bound[0]  # noqa: SLF001  (of this package)
    if (key := keys.verify(session_key, signing_keys, namespace)) is not None:
        return (yield from _bring_under(store, source, key, namespace))
    if not keys.is_foreign(session_key) or (yield from _first(store, [session_key])):
        return None
    # It was adopted from there, and its client hasn't come since: it has the key from before.
    origin = keys.origin_of(session_key, is_ours=False)
    for each in config().adopting_keys:
        key = keys.adopted(origin, each, signing_keys[0], namespace)
        found = yield from _bring_under(store, source, key, namespace)
        if found is not None:
            return found
    return None


def _bring_under(
    store: type[SessionBase], source: Source, key: Verified, namespace: bytes
) -> Steps[SessionBase | None]:
    """Return the session that lies, or lay, under *key* in the old engine; None if there is none."""
    old: DriverSessionStore = source.store(key.session_key)
    site = old._inner.site  # noqa: SLF001  (of this package)
    place = keys.adoption_mark(b"back:" + key.storage_key.encode(), namespace)
    mark, token = (yield from adopt.read_mark(site, place)), None
    if mark is None:
        token = yield from _copy_there(store, old, key, place)
        # Another request may have brought it in between.
        mark = None if token else (yield from adopt.read_mark(site, place))
    if mark is None and token is None:
        return None
    left = Tombstone(new_revision(), Reason.MOVED)
    is_ended_now = (yield from site.driver.delete(key.storage_key, left)) is True
    if mark is not None:
        # What is ended only now was used by no one there. Otherwise this may be a captured key.
        if not (is_ended_now or mark.is_recent(site.now())):
            return None
        token = mark.why
    found = yield from _first(store, _keys_there(key, token or b"", namespace))
    if found is None:
        return None
    session = store(found)
    session._brought_under = found  # type: ignore[attr-defined]  # noqa: SLF001  (as above)
    return session


def _copy_there(
    store: type[SessionBase], old: DriverSessionStore, key: Verified, place: str
) -> Steps[bytes | None]:
    """Store the session in the other engine; return its token, or None if this request has no say."""
    site = old._inner.site  # noqa: SLF001  (of this package)
    entries = yield Ask(_verbs, "load", _Call(old, "load"))
    if old.is_unreachable:
        raise StoreUnavailable("The session could not be read.")
    if not entries:
        return None
    token = SecretBytes(new_revision().hex().encode())
    mine = _keys_there(key, token, site.bound[0])[0]
    yield from _store(store, mine, entries)
    # Of several requests, one says where the session is. No one has the others' keys.
    ends = site.now() + int(site.cookie_age() * 1000)
    if not (yield from adopt.add_mark(site, place, token, ends)):
        yield Ask(_verbs, "delete", _Call(store(), "delete", (mine,)))
        return None
    return token


def _keys_there(key: Verified, token: bytes, namespace: bytes) -> list[str]:
    """Return the keys that the session of *key* may have, one for each secret; it may be rotated."""
    origin = key.storage_key.encode() + b":" + token
    return [keys.returned(origin, each, namespace) for each in config().adopting_keys]


def _first(store: type[SessionBase], there: list[str]) -> Steps[str | None]:
    """Return the first of the keys *there* that leads to a session."""
    for key in there:
        if (yield Ask(_verbs, "exists", _Call(store(), "exists", (key,)))):
            return key
    return None


def _store(store: type[SessionBase], key: str, entries: dict[str, Any]) -> Steps[None]:
    """Store *entries* under *key*."""
    session: Any = store()
    session._session_key = key  # noqa: SLF001  (no public name takes a key)
    session._session_cache = dict(entries)  # noqa: SLF001  (as above)
    yield Ask(_verbs, "save", _Call(session, "save", (True,)))
