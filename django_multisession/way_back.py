"""Going back: a session of this package's engine goes on in another package's, at its first visit.

`SessionMiddleware` does this where ``SESSION_ENGINE`` is another package's and
``MULTISESSION_MIGRATE_FROM`` one of this package's. The session is stored there under a key of Django's
form, an HMAC of the old key and a token. A mark in the old engine holds the token of the request whose
mark was first, so all requests that come with the old key find one session, and a late one revives none
that was ended there. The session is used only after its record here was ended, and then the mark says
when that was: an outage on the way takes nothing off the minute for which the old key leads to it.

A client that stayed away since before the first move has a key of Django's form. The mark of the adoption
says whether the key still leads to its session. It is asked for where the old copy is still there, too.
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
from django_multisession.core.secret import SecretBytes, SecretText, without_frames
from django_multisession.drivers.base import Ask, arun, run
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import adopt
from django_multisession.session.site import Site
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
        return getattr(call.of, call.verb)(*map(_plain, call.arguments))

    async def asend(self, call: _Call, /) -> Any:
        return await getattr(call.of, f"a{call.verb}")(*map(_plain, call.arguments))

    def close(self) -> None:
        """Nothing is open."""

    async def aclose(self) -> None:
        """See close()."""


_verbs = _Verbs()


def _plain(argument: Any) -> Any:
    return str(argument) if isinstance(argument, SecretText) else argument


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
    return isinstance(source, OwnSource) and not source.is_carried


def bring(store: type[SessionBase], session_key: SecretText) -> SessionBase | None:
    """Return the session of a client that came with *session_key*.

    Returns:
        None if that isn't a key of this package's, or leads to no session. Of a client whose session
        couldn't be asked for, an empty one whose response keeps the cookie.

    Raises:
        ImproperlyConfigured: One of the engines can't be opened.
    """
    try:
        return run(_bring(store, session_key))
    except Exception as error:  # noqa: BLE001  (whatever an engine raises)
        failed = error
    return _anonymous(store, failed)


async def abring(store: type[SessionBase], session_key: SecretText) -> SessionBase | None:
    """See bring()."""
    try:
        return await arun(_bring(store, session_key))
    except Exception as error:  # noqa: BLE001  (as above)
        failed = error
    return _anonymous(store, failed)


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
    """Return the session of a client after *error*, unless an engine can't be opened.

    Not called where *error* is handled: the engines' frames hold the session key.
    """
    if isinstance(error, SynchronousOnlyOperation | ImproperlyConfigured):
        raise without_frames(error)
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


def _bring(store: type[SessionBase], session_key: SecretText) -> Steps[SessionBase | None]:
    migration = current().migration
    if migration is None:
        return None
    source = source_of(migration.engine)
    signing_keys = current().signing_keys
    site = source.store()._inner.site  # noqa: SLF001  (of this package)
    namespace = site.bound[0]
    if (key := keys.verify(session_key, signing_keys, namespace)) is not None:
        return (yield from _bring_under(store, source, key, namespace))
    if not keys.is_foreign(session_key):
        return None
    origin = keys.origin_of(session_key, is_ours=False)
    if not (yield from _has_left(store, site, session_key, origin)):
        return None
    # It was adopted from there, and its client hasn't come since: it has the key from before.
    for each in config().adopting_keys:
        key = keys.adopted(origin, each, signing_keys[0], namespace)
        found = yield from _bring_under(store, source, key, namespace)
        if found is not None:
            return found
    return None


def _has_left(
    store: type[SessionBase], site: Site, session_key: SecretText, origin: bytes
) -> Steps[bool]:
    """Was the session of another package's *session_key* adopted, and does the key still lead to it?

    A copy that the adoption couldn't remove is removed now.
    """
    is_there = bool((yield from _first(store, [session_key])))
    try:
        mark = yield from adopt.read_mark(site, keys.adoption_mark(origin, site.bound[0]))
    except StoreUnavailable:
        if is_there:
            # An outage of the engine that is left must not reach sessions that are back, or new.
            return False
        raise
    if mark is None:
        return False
    if is_there:
        yield Ask(_verbs, "delete", _Call(store(), "delete", (session_key,)))
    return mark.is_open(site.now())


def _bring_under(
    store: type[SessionBase], source: Source, key: Verified, namespace: bytes
) -> Steps[SessionBase | None]:
    """Return the session that lies, or lay, under *key* in the old engine; None if there is none."""
    old: DriverSessionStore = source.store(key.session_key)
    site = old._inner.site  # noqa: SLF001  (of this package)
    place = keys.adoption_mark(b"back:" + key.storage_key.encode(), namespace)
    mark = (
        (yield from adopt.read_mark(site, place))
        or (yield from _copy_there(store, old, key, place))
        # Another request may have brought it in between.
        or (yield from adopt.read_mark(site, place))
    )
    if mark is None:
        return None
    # Asked before anything is ended: an outage of the engine that it goes to changes nothing.
    found = yield from _first(store, _keys_there(key, _token(mark), namespace))
    yield from site.driver.delete(key.storage_key, Tombstone(new_revision(), Reason.MOVED))
    if found is None or not (yield from _may_use(site, place, mark)):
        return None
    session = store(str(found))
    session._brought_under = str(found)  # type: ignore[attr-defined]  # noqa: SLF001  (as above)
    return session


def _token(mark: adopt.Mark) -> bytes:
    return mark.why.removeprefix(adopt.BACK).removeprefix(adopt.BACK_AND_USED)


def _may_use(site: Site, place: str, mark: adopt.Mark) -> Steps[bool]:
    """Does the *mark* let the old key lead to the session? The first visit is noted when all is done."""
    found: adopt.Mark | None = mark
    for _ in range(2):  # another first visit may be faster
        if found is None or not found.why.startswith(adopt.BACK):
            break
        used = SecretBytes(adopt.BACK_AND_USED + _token(found))
        if (yield from adopt.note_visit(site, place, found, used)):
            return True
        found = yield from adopt.read_mark(site, place)
    return found is not None and found.is_recent(site.now())


def _copy_there(
    store: type[SessionBase], old: DriverSessionStore, key: Verified, place: str
) -> Steps[adopt.Mark | None]:
    """Store the session in the other engine; return its mark, or None if this request has no say."""
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
    why = SecretBytes(adopt.BACK + token)
    if (added := (yield from adopt.add_mark(site, place, why, ends))) is None:
        yield Ask(_verbs, "delete", _Call(store(), "delete", (mine,)))
        return None
    return adopt.Mark(why, added)


def _keys_there(key: Verified, token: bytes, namespace: bytes) -> list[SecretText]:
    """Return the keys that the session of *key* may have, one for each secret; it may be rotated."""
    origin = SecretBytes(key.storage_key.encode() + b":" + token)
    return [SecretText(keys.returned(origin, each, namespace)) for each in config().adopting_keys]


def _first(store: type[SessionBase], there: list[SecretText]) -> Steps[SecretText | None]:
    """Return the first of the keys *there* that leads to a session."""
    for key in there:
        if (yield Ask(_verbs, "exists", _Call(store(), "exists", (key,)))):
            return key
    return None


def _store(store: type[SessionBase], key: SecretText, entries: dict[str, Any]) -> Steps[None]:
    """Store *entries* under *key*."""
    session: Any = store()
    session._session_key = str(key)  # noqa: SLF001  (no public name takes a key)
    session._session_cache = dict(entries)  # noqa: SLF001  (as above)
    yield Ask(_verbs, "save", _Call(session, "save", (True,)))
