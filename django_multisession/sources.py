"""Engines whose sessions are adopted: Django's, another package's and this one's, as servers of steps.

A source answers, whatever its engine raises: a fault there must not break a request of the new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from django.contrib.sessions.backends import cache, cached_db, db, signed_cookies
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.signing import b62_decode
from django.db import connections, router, transaction

from django_multisession.core import keys
from django_multisession.core.keys import Verified
from django_multisession.core.records import NEVER, Reason, Tombstone, new_revision
from django_multisession.core.records import Stored as StoredRecord
from django_multisession.core.secret import SecretBytes, SecretEntries, SecretText, without_frames
from django_multisession.drivers import base

#: Characters of a key that a column or a cache holds, and of one that is the session itself.
_LONGEST_KEY, _LONGEST_COOKIE = 128, 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """A live session of another package's engine.

    Not a tuple: an error reporter walks through those, and would show the entries.
    """

    entries: SecretEntries = dataclasses.field(repr=False)


class Failed(NamedTuple):
    """There was no answer.

    Attributes:
        reason: Why, without anything secret.
    """

    reason: str


class Command(NamedTuple):
    """What a source is asked.

    Attributes:
        verb: ``"load"`` or ``"end"``.
        key: Of the session, in the source.
        since_ms: When the site left the engine.
    """

    verb: str
    key: SecretText
    since_ms: int


class Source:
    """An engine with Django's verbs, by a store object of its own for each command."""

    #: Does this package's signature stand in its keys?
    is_ours = False
    #: Does a key hold the session, so that nothing lists them?
    is_carried = False
    #: Does a store object take a cache of ``CACHES`` as it is made?
    takes_cache = False
    longest_key = _LONGEST_KEY

    def __init__(self, store: Any) -> None:
        self.store = store

    def origin(self, key: Verified) -> SecretText | None:
        """Return the key of the session in the source; None if *key* leads to none there."""
        return key.foreign

    def name_of(self, origin: SecretText) -> SecretBytes | None:
        """Return what names the session of *origin*; None if that can't be one of its keys."""
        return keys.origin_of(origin, is_ours=self.is_ours)

    def send(self, command: Command, /) -> Any:
        """Return what *command* brings: a copy, a stored record, None or `Failed`.

        Raises:
            ImproperlyConfigured: The engine can't be opened. This isn't an outage: it doesn't end by itself.
        """
        try:
            with self._savepoint():
                return getattr(self, command.verb)(command)
        except Exception as error:  # noqa: BLE001  (whatever an engine raises)
            failed = error
        return self._judged(failed)

    async def asend(self, command: Command, /) -> Any:
        """See send()."""
        try:
            return await getattr(self, f"a{command.verb}")(command)
        except Exception as error:  # noqa: BLE001  (as above)
            failed = error
        return self._judged(failed)

    def _judged(self, error: Exception) -> Failed:
        """Return what *error* is to a request, unless the engine can't be opened.

        Not called where *error* is handled: the engine's frames hold the session key.
        """
        if isinstance(error, SynchronousOnlyOperation | ImproperlyConfigured):
            raise without_frames(error)
        self.require()
        kind = getattr(error, "kind", None)
        # No text of the error: it may hold the address of a server, with a password.
        return Failed(type(error).__name__ + (f" ({kind})" if kind else ""))

    def require(self) -> None:
        """See that the settings let the engine be opened; nothing is asked of its server.

        Raises:
            ImproperlyConfigured: They don't; says why.
        """
        try:
            # Its model, if it has one, is imported at its first use.
            _ = self.model
            if self.takes_cache:
                self.store()
        except Exception as error:  # whatever a model's module raises
            raise ImproperlyConfigured(
                f"The session engine {self.store.__module__!r} can't be opened: "
                f"{type(error).__name__}. Keep its app in INSTALLED_APPS, and its cache in CACHES."
            ) from error

    @property
    def model(self) -> Any:
        """The model whose rows are the sessions; None where nothing lists them."""
        return self.store.get_model_class() if hasattr(self.store, "get_model_class") else None

    def close(self) -> None:
        """See `drivers.base.Server`. The engine's own clients stay."""

    async def aclose(self) -> None:
        """See close()."""

    def load(self, command: Command) -> Copy | None:
        """Return a copy of the session, if it has an entry."""
        return _copy(self.store(str(command.key)).load())

    async def aload(self, command: Command) -> Copy | None:
        """See load()."""
        return _copy(await self.store(str(command.key)).aload())

    def end(self, command: Command) -> None:
        """Remove the session."""
        self.store().delete(str(command.key))

    async def aend(self, command: Command) -> None:
        """See end()."""
        await self.store().adelete(str(command.key))

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[None]:
        """Keep a fault of the source's table from ending the transaction that a view is in."""
        with contextlib.ExitStack() as stack:
            if (model := self.model) is not None:
                for alias in {router.db_for_read(model), router.db_for_write(model)}:
                    if connections[alias].in_atomic_block:
                        stack.enter_context(transaction.atomic(using=alias))
            yield


class CacheSource(Source):
    """Django's ``cache``, asked by its cache: its ``load()`` calls a cache that is down empty."""

    takes_cache = True

    def load(self, command: Command) -> Copy | None:
        """See Source.load()."""
        store = self.store()
        # The alias is a setting, and a subclass may choose another cache.
        return _copy(store._cache.get(store.cache_key_prefix + command.key))  # noqa: SLF001  (Django's)

    async def aload(self, command: Command) -> Copy | None:
        """See load()."""
        store = self.store()
        return _copy(await store._cache.aget(store.cache_key_prefix + command.key))  # noqa: SLF001  (as above)


class CachedTableSource(Source):
    """Django's ``cached_db``, asked by its table, where each session is: the cache may be down."""

    takes_cache = True

    def load(self, command: Command) -> Copy | None:
        """See Source.load()."""
        return _copy(db.SessionStore.load(self.store(str(command.key))))

    async def aload(self, command: Command) -> Copy | None:
        """See load()."""
        return _copy(await db.SessionStore.aload(self.store(str(command.key))))


class CookieSource(Source):
    """Django's ``signed_cookies``, where each save makes another value, and none can be removed."""

    longest_key = _LONGEST_COOKIE

    def load(self, command: Command) -> Copy | None:
        """Return a copy of the session, if its cookie was signed before the site left the engine."""
        if command.since_ms >= NEVER:
            raise LookupError("MULTISESSION_MIGRATE_SINCE")
        copy = super().load(command)
        # The signature covers it.
        if copy is None or b62_decode(command.key.rsplit(":", 2)[1]) * 1000 > command.since_ms:
            return None
        return copy

    async def aload(self, command: Command) -> Copy | None:
        """See load(). It waits for nothing."""
        return self.load(command)

    def end(self, command: Command) -> None:
        """See Source.end(). There is nothing to remove."""

    async def aend(self, command: Command) -> None:
        """See end()."""


class OwnSource(Source):
    """An engine of this package, or one made with it, asked by its driver: keys are storage keys."""

    is_ours = True

    def origin(self, key: Verified) -> SecretText | None:
        """See Source.origin()."""
        return None if key.foreign else SecretText(key.storage_key)

    def load(self, command: Command) -> StoredRecord:  # type: ignore[override]  # a record is more
        """Return what is stored there."""
        stored: StoredRecord = base.run(self.store.get_driver().get(str(command.key)))
        return stored

    async def aload(self, command: Command) -> StoredRecord:  # type: ignore[override]  # as above
        """See load()."""
        stored: StoredRecord = await base.arun(self.store.get_driver().get(str(command.key)))
        return stored

    def end(self, command: Command) -> None:
        """Leave a tombstone: a process that still runs the old engine keeps the cookie."""
        base.run(self.store.get_driver().delete(str(command.key), _left()))

    async def aend(self, command: Command) -> None:
        """See end()."""
        await base.arun(self.store.get_driver().delete(str(command.key), _left()))


class CarriedSource(OwnSource):
    """An engine of this package whose keys hold their sessions.

    Each save makes another key of the same session. The storage key inside names it, so a mark closes
    every copy.
    """

    is_carried = True
    longest_key = _LONGEST_COOKIE

    def origin(self, key: Verified) -> SecretText | None:
        """See Source.origin()."""
        return key.foreign

    def name_of(self, origin: SecretText) -> SecretBytes | None:
        """See Source.name_of(). A key that this site didn't encrypt costs no I/O."""
        _, place = self._held(origin)
        return None if place is None else keys.origin_of(place, is_ours=True)

    def load(self, command: Command) -> StoredRecord:  # type: ignore[override]  # as above
        """Return what the key holds, unless its end is known."""
        driver, place = self._held(command.key)
        stored: StoredRecord = None if place is None else base.run(driver.get(place))
        return stored

    async def aload(self, command: Command) -> StoredRecord:  # type: ignore[override]  # as above
        """See load()."""
        driver, place = self._held(command.key)
        stored: StoredRecord = None if place is None else await base.arun(driver.get(place))
        return stored

    def end(self, command: Command) -> None:
        """Note the end where the engine keeps ends."""
        driver, place = self._held(command.key)
        if place is not None:
            base.run(driver.delete(place, _left()))

    async def aend(self, command: Command) -> None:
        """See end()."""
        driver, place = self._held(command.key)
        if place is not None:
            await base.arun(driver.delete(place, _left()))

    def _held(self, session_key: SecretText) -> tuple[base.Driver, str | None]:
        """Return a driver over what *session_key* holds, and its storage key; None: it isn't one."""
        site = self.store()._inner.site  # noqa: SLF001  (of this package)
        found = site.key_verifier()(str(session_key))
        return site.driver, None if found is None else found.storage_key


class BrokenSource(Source):
    """What can't be imported."""

    longest_key = _LONGEST_COOKIE

    def __init__(self, reason: str) -> None:
        super().__init__(None)
        self.reason = reason

    def send(self, _command: Command, /) -> None:
        """See Source.send()."""
        self.require()

    async def asend(self, _command: Command, /) -> None:
        """See send()."""
        self.require()

    def require(self) -> None:
        """See Source.require()."""
        raise ImproperlyConfigured(
            f"The engine of MULTISESSION_MIGRATE_FROM can't be opened: {self.reason}."
        )


@functools.lru_cache(maxsize=8)
def source_of(engine: str) -> Source:
    """Return the source that the dotted path *engine* names."""
    try:
        store = import_module(engine).SessionStore
    except Exception as error:  # noqa: BLE001  (whatever a module raises as it is imported)
        return BrokenSource(f"{type(error).__name__} at its import")
    if hasattr(store, "get_driver"):
        is_carried = getattr(store, "_is_carried", False)
        return CarriedSource(store) if is_carried else OwnSource(store)
    if store.load is cache.SessionStore.load:
        return CacheSource(store)
    if store.load is cached_db.SessionStore.load:
        return CachedTableSource(store)
    if issubclass(store, signed_cookies.SessionStore):
        return CookieSource(store)
    return Source(store)


def _copy(entries: Any) -> Copy | None:
    return Copy(SecretEntries(entries)) if isinstance(entries, dict) and entries else None


def _left() -> Tombstone:
    return Tombstone(new_revision(), Reason.MOVED)
