"""Django's `SessionBase` over a `Session`: its verbs, sync and async, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SynchronousOnlyOperation
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from django_multisession import signals
from django_multisession.core import keys, lifetime
from django_multisession.core.entries import Entries
from django_multisession.core.keys import Verified
from django_multisession.core.locks import ForkSafeLock
from django_multisession.core.merging import USER_ID_ENTRY
from django_multisession.core.records import BEGINNING, END, to_milliseconds
from django_multisession.drivers.base import Ask, Driver, Purging
from django_multisession.engine import Engine
from django_multisession.exceptions import OutageKind, StoreUnavailable
from django_multisession.session import adopt, devices, end, events, line, read, respond, save
from django_multisession.session.custom_expiry import EXPIRY_ENTRY, aware, custom_expiry
from django_multisession.session.events import Event, Login, OutageWatch
from django_multisession.session.respond import CookieAnswer, Deadlines
from django_multisession.session.site import Site, overridden
from django_multisession.session.state import (
    Ended,
    New,
    Session,
    Stored,
    Unreachable,
    Unread,
)
from django_multisession.session.steps import Result, Steps, arun, run
from django_multisession.session.turns import Turn, running_loop
from django_multisession.settings.conf import config, serializer

#: Shorter values are no session keys to Django.
SHORTEST_KEY = 8
#: How many further keys of one request are looked at: a client must not cause hundreds of look-ups.
MOST_OTHER_KEYS = 4
#: How many records one batch of a purge removes.
PURGE_BATCH = 1000

_NOT_GIVEN = object()
#: Held for microseconds, once for each request that comes with a cookie.
_recognizing = ForkSafeLock()
_EXPIRY_HOOKS = frozenset({"get_expiry_age", "get_expiry_date", "get_expire_at_browser_close"})


class DriverSessionStore(SessionBase):
    """A session whose record a driver keeps. Engines subclass it and say which driver."""

    #: What keeps the records; None where `get_driver` is overridden.
    engine: ClassVar[Engine | None] = None

    #: Did code of this request meet an outage?
    has_met_outage = False

    #: Does the text of a session key hold the session, so that a server holds none?
    _is_carried: ClassVar[bool] = False

    #: Names of Django's methods that a subclass overrides, and that the steps of a verb must call.
    hooks: ClassVar[frozenset[str]] = frozenset()

    #: Of this engine's server, in this process.
    outage_watch: ClassVar[OutageWatch] = OutageWatch()

    _shared_site: ClassVar[Site | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._shared_site = None
        cls.hooks = overridden(cls, DriverSessionStore)
        cls.outage_watch = OutageWatch()

    @classmethod
    def get_driver(cls) -> Driver:
        """Return the driver that keeps the records: that of `engine` by default."""
        if cls.engine is None:
            raise NotImplementedError("subclasses of DriverSessionStore must provide an engine")
        return cls.engine.driver()

    def get_namespace(self) -> str:
        """Return the site or tenant that this session is signed for.

        ``MULTISESSION_NAMESPACE`` by default; a subclass returns the current tenant's name. It is
        asked once for each store object.
        """
        return config().namespace

    def __init__(self, session_key: str | None = None) -> None:
        # Not by SessionBase: it assigns what is derived here.
        self.serializer = serializer()
        self.accessed = False
        self._inner = Session(self._site())
        self._presented: list[str] = [] if session_key is None else [session_key]

    def _site(self) -> Site:
        """Return what is around the session: the class's own where nothing asks this object."""
        cls = type(self)
        site = cls._shared_site
        if site is None or site.serializer_class is not self.serializer:
            site = Site(cls, cls.hooks, self.serializer)
            if cls.hooks:
                site.belong_to(self)
            else:
                cls._shared_site = site
        return site

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what a copy or a pickle holds."""
        self.__dict__.update(state)
        self._inner.site.belong_to(self)

    @property
    def _turn(self) -> Turn:
        # Made when it is first needed, and once for all threads: dict.setdefault() is atomic.
        turn: Turn = self.__dict__.get("_turns") or self.__dict__.setdefault("_turns", Turn())
        return turn

    # What Django keeps in attributes

    def _get_session_key(self) -> str | None:
        if self._presented and len(self._presented[0]) >= SHORTEST_KEY:
            return self._presented[0]
        key = self._recognized.key
        return None if key is None else self._inner.site.session_key(key)

    def _set_session_key(self, value: str | None) -> None:
        self._presented = [] if value is None else [value]
        self._inner.state = New()

    @property
    def session_key(self) -> str | None:
        """The session key: the secret in the cookie."""
        return self._get_session_key()

    _session_key = property(_get_session_key, _set_session_key)

    @property
    def _recognized(self) -> Session:
        """The session, once the keys that the client sent are verified: at their first use."""
        if self._presented:
            self._recognize()
        return self._inner

    def _recognize(self) -> None:
        session = self._inner
        # A subclass may be asked for it, and a wrong setting is an error.
        verify = session.site.key_verifier()
        is_old: bool | None = None
        # Another thread must find the keys or the state that they lead to, and nothing in between.
        with _recognizing.lock:
            if self._presented:
                found, is_old = self._verify(self._presented, verify)
                found = found[: MOST_OTHER_KEYS + 1]
                session.came_with += found
                session.state = Unread(found) if found else New()
                self._presented = []
        # Told last: code that hears of it may use the session.
        if is_old is not None:
            session.note(signals.invalid_session_key, is_of_another_engine=is_old)

    def _verify(
        self, presented: Sequence[object], verify: Callable[[object], Verified | None]
    ) -> tuple[tuple[Verified, ...], bool | None]:
        """Return those of *presented* that this site signed, and what the others are.

        That is None without others, and else whether all of them look like another engine's.
        """
        if len(presented) == 1:
            key = verify(presented[0])
            if key is None and config().migration is not None:
                key = adopt.recognized(self._inner.site, presented[0])
            return ((key,), None) if key else ((), keys.is_of_another_engine(presented[0]))
        verified = {text: verify(text) for text in _distinct(presented)}
        found = tuple(key for key in verified.values() if key is not None)
        unsigned = [text for text, key in verified.items() if key is None]
        for text in unsigned if config().migration is not None else ():
            if (foreign := adopt.recognized(self._inner.site, text)) is not None:
                verified[text] = foreign
                # Behind those that were signed: it may be long forgotten, or planted.
                found += (foreign,)
        others = [keys.is_of_another_engine(text) for text, key in verified.items() if key is None]
        return found, all(others) if others else None

    # The steps of a verb get what this returns: Django's filter looks into no frame of a generator.
    @sensitive_variables("session_key")
    def _verify_one(self, session_key: object) -> tuple[Verified, ...]:
        session = self._recognized
        found, is_old = self._verify([session_key], session.site.key_verifier())
        if is_old is not None:
            session.note(signals.invalid_session_key, is_of_another_engine=is_old)
        return found

    def offer_keys(self, session_keys: Sequence[str]) -> None:
        """Name further keys that the client sent, in its order: the first live session is taken.

        A browser sends every cookie of one name: one per path and domain, some long forgotten, some
        planted by a neighboring subdomain.
        """
        self._presented += session_keys

    @property
    def _session_cache(self) -> Entries:
        if self._inner.entries is None:
            raise AttributeError("_session_cache")
        return self._inner.entries

    @_session_cache.setter
    def _session_cache(self, entries: dict[str, Any]) -> None:
        if entries is not self._inner.entries:
            self._inner.hold(entries if isinstance(entries, Entries) else Entries(entries))

    @_session_cache.deleter
    def _session_cache(self) -> None:
        self._inner.entries = None

    @property
    def modified(self) -> bool:
        """Must the response save this session or renew its cookie?"""
        return self._recognized.is_modified()

    @modified.setter
    def modified(self, value: bool) -> None:
        self._recognized.say(is_modified=bool(value))

    @property
    def counts_as_use(self) -> bool:
        """False on a request that isn't use, polling for example: it doesn't keep the session alive.

        To be set before the session is first used if its cookie is browser-length.
        """
        return self._inner.counts_as_use

    @counts_as_use.setter
    def counts_as_use(self, value: bool) -> None:
        self._inner.counts_as_use = value

    @property
    def is_unreachable(self) -> bool:
        """Did the server, or that of the engine that the site left, not answer when it was read?"""
        state = self._inner.state
        return isinstance(state, Unreachable) or (isinstance(state, Ended) and state.is_unknown)

    # The life of a session

    def load(self) -> Entries:
        """Return a copy of the stored entries: none of a session that is unknown, ended or expired.

        The first load is what the session goes on from. A later one moves nothing.

        Raises:
            StoreUnavailable: The server did not answer, and ``MULTISESSION_ON_OUTAGE`` is ``"error"``.
        """
        return self._run(read.load(self._recognized, is_first=self._inner.entries is None))

    async def aload(self) -> Entries:
        """See load()."""
        # Whether it is the first load is decided before it waits for its turn.
        return await self._arun(read.load(self._recognized, is_first=self._inner.entries is None))

    def _get_session(self, no_load: bool = False) -> Entries:
        # Django assigns what load() returns, also where another coroutine loaded and changed the
        # session meanwhile.
        self.accessed = True
        session = self._inner
        if session.entries is None and not no_load:
            session = self._recognized
            if read.is_due(session):
                self._run(read.read_entries(session))
        return session.own_entries()

    async def _aget_session(self, no_load: bool = False) -> Entries:
        """See _get_session()."""
        self.accessed = True
        session = self._inner
        if session.entries is None and not no_load:
            session = self._recognized
            if read.is_due(session):
                await self._arun(read.read_entries(session))
        return session.own_entries()

    _session = property(_get_session)

    def _read_entries(self) -> Steps[Entries]:
        self.accessed = True
        return (yield from read.read_entries(self._recognized))

    def save(self, must_create: bool = False) -> None:
        """Store what changed; touch the session if nothing did.

        Args:
            must_create: Store a new record, never an existing one's next state.

        Raises:
            CreateError: *must_create*, and there is a live session.
            SessionEnded: The session was ended or moved; it is an `UpdateError`.
            StoreUnavailable: The server did not answer, or did not when the session was read.
            SessionConflict: Other requests saved the session for as long as this one tried to.
            SessionTooLarge: It is bigger than ``MULTISESSION_MAX_SIZE``.
            EntryNotSerializable: It holds something that ``SESSION_SERIALIZER`` can't take.
        """
        self._run(save.save(self._recognized, must_create=must_create))

    async def asave(self, must_create: bool = False) -> None:
        """See save()."""
        await self._arun(save.save(self._recognized, must_create=must_create))

    def create(self) -> None:
        """Store this session's entries under a new key; a live session moves there.

        Raises:
            SessionEnded: The request came with a session that was ended; what it does must not
                make another one (CVE-2025-46336's second order).
        """
        self._run(end.create(self._recognized))

    async def acreate(self) -> None:
        """See create()."""
        await self._arun(end.create(self._recognized))

    def cycle_key(self) -> None:
        """Give the session a new key; the next save moves the record there and ends the old one.

        Until then the old session lives: a response that fails leaves the user where they were.
        """
        # Also where nothing is left to read: an end may be under way, in its turn.
        self._run(self._read_entries())
        end.give_new_key(self._inner)

    async def acycle_key(self) -> None:
        """See cycle_key()."""
        await self._arun(self._read_entries())
        end.give_new_key(self._inner)

    def flush(self) -> None:
        """End the session immediately, in the store too; the response removes the cookie."""
        self.clear()
        self._run(end.flush(self._recognized))

    async def aflush(self) -> None:
        """See flush()."""
        self.clear()
        await self._arun(end.flush(self._recognized))

    @sensitive_variables("session_key")
    def delete(self, session_key: str | None = None) -> None:
        """End the session *session_key*, by default this one; unknown keys are no error."""
        named = None if session_key is None else self._verify_one(session_key)
        self._run(self._delete(named))

    @sensitive_variables("session_key")
    async def adelete(self, session_key: str | None = None) -> None:
        """See delete()."""
        named = None if session_key is None else self._verify_one(session_key)
        await self._arun(self._delete(named))

    def _delete(self, named: tuple[Verified, ...] | None) -> Steps[None]:
        session = self._recognized
        if named is None:
            yield from end.delete_own(session)
            return
        for key in named:
            if session.key is not None and key.storage_key == session.key.storage_key:
                yield from end.delete_own(session)
            else:
                yield from end.delete(session, key)

    @sensitive_variables("session_key")
    def exists(self, session_key: str | None) -> bool:
        """Is there a live, readable session *session_key*?"""
        return self._run(self._exists(self._verify_one(session_key) if session_key else ()))

    @sensitive_variables("session_key")
    async def aexists(self, session_key: str | None) -> bool:
        """See exists()."""
        return await self._arun(self._exists(self._verify_one(session_key) if session_key else ()))

    def _exists(self, named: tuple[Verified, ...]) -> Steps[bool]:
        session = self._recognized
        for key in named:
            state = session.state
            # A key that waits for its save answers as if it were saved.
            if session.is_moving and session.key is not None:
                if session.key.storage_key == key.storage_key:
                    return True
                if isinstance(state, Stored) and state.snapshot.key.storage_key == key.storage_key:
                    return False
            # Another engine's key leads to what was adopted from there for a while only.
            if not key.foreign and isinstance((yield from line.find(session, key)), line.Opened):
                return True
            return (yield from adopt.exists(session, key))
        return False

    def is_empty(self) -> bool:
        """Return True when there is no session key and nothing in the session.

        A session that the response will save unread (it was cleared, or every request is saved) is
        read here: Django's middleware would read it next, and one that turns out to be unknown must
        not be traded for an empty new record (CVE-2015-5963).
        """
        session = self._recognized
        if isinstance(session.state, Unread) and (
            session.is_marked() or config().save_every_request
        ):
            # What can't be read isn't known to be empty.
            with contextlib.suppress(StoreUnavailable, SynchronousOnlyOperation):
                self._run(self._read_entries())
        if session.events:
            self._send_signals()
        return session.key is None and not session.entries

    def respond(self, *, may_save: bool = True) -> CookieAnswer:
        """End the request: save what it changed, and return what its response does with the cookie.

        Called by `django_multisession.middleware`; Django's asks `modified` and calls `save()`.

        Args:
            may_save: False for a response of 500 and above, which saves nothing.

        Raises:
            SessionEnded: The request changed a session that was ended, and
                ``MULTISESSION_ON_INTERRUPTED`` is ``"error"``. A touch doesn't raise it.
            StoreUnavailable: See save(); not where nothing was changed.
            SessionConflict, SessionTooLarge, EntryNotSerializable: See save().
        """
        session = self._recognized
        if not session.events and (answer := respond.settled(session)) is not None:
            return answer
        return self._run(respond.respond(session, may_save=may_save))

    async def arespond(self, *, may_save: bool = True) -> CookieAnswer:
        """See respond()."""
        session = self._recognized
        if not session.events and (answer := respond.settled(session)) is not None:
            return answer
        return await self._arun(respond.respond(session, may_save=may_save))

    def cookie_age(self) -> int | None:
        """Return for how many seconds the response sets the cookie; None: until the browser closes."""
        if not _EXPIRY_HOOKS.isdisjoint(self.hooks):
            return None if self.get_expire_at_browser_close() else self.get_expiry_age()
        return respond.cookie_age(self._inner, self._inner.site.now())

    @classmethod
    def clear_expired(cls) -> None:
        """Remove expired sessions, in batches, where the server doesn't do it by itself."""
        store = cls()
        store._run(store._purge())

    @classmethod
    async def aclear_expired(cls) -> None:
        """See clear_expired()."""
        store = cls()
        await store._arun(store._purge())

    @classmethod
    def _adopt(cls, session_key: str, expires_ms: int) -> bool | None:
        """Adopt a session of the engine that the site left, as ``manage.py migratesessions`` does.

        Returns:
            True if it is here now, False if it holds nothing, None if that isn't known.
        """
        store = cls()
        site = store._inner.site
        site.key_verifier()  # the settings as they are now
        key = adopt.listed(site, session_key)
        if key is None:
            return False
        found = store._run(adopt.look(store._inner, key, expires_ms))
        return None if isinstance(found, adopt.Unknown) else isinstance(found, line.Opened)

    def _purge(self) -> Steps[None]:
        site = self._inner.site
        driver, now = site.driver, site.now()
        if not isinstance(driver, Purging):
            return
        while (yield from driver.purge_expired(now, PURGE_BATCH)) == PURGE_BATCH:
            pass

    # Entries. What is written is noted by `Entries`: `modified` is for code that assigns it.

    def clear(self) -> None:
        """Remove every entry. What is stored isn't read for that."""
        self._inner.hold(Entries.cleared())
        self.accessed = True

    def __setitem__(self, key: str, value: Any) -> None:
        entries = self._get_session()
        if key == USER_ID_ENTRY:
            self._note_login()
        entries[key] = value

    async def aset(self, key: str, value: Any) -> None:
        """See __setitem__()."""
        entries = await self._aget_session()
        if key == USER_ID_ENTRY:
            await self._anote_login()
        entries[key] = value

    def _note_login(self) -> None:
        # Entries that were cleared are held unread.
        if isinstance(self._recognized.state, Unread):
            self._run(self._read_entries())
        end.note_login(self._inner)

    async def _anote_login(self) -> None:
        if isinstance(self._recognized.state, Unread):
            await self._arun(self._read_entries())
        end.note_login(self._inner)

    def __delitem__(self, key: str) -> None:
        del self._get_session()[key]

    def pop(self, key: str, default: Any = _NOT_GIVEN) -> Any:
        """Remove the entry *key* and return it. A missing one changes nothing."""
        entries = self._get_session()
        return entries.pop(key) if default is _NOT_GIVEN else entries.pop(key, default)

    async def apop(self, key: str, default: Any = _NOT_GIVEN) -> Any:
        """See pop()."""
        entries = await self._aget_session()
        return entries.pop(key) if default is _NOT_GIVEN else entries.pop(key, default)

    def update(self, dict_: Any) -> None:  # type: ignore[override]  # Django's signature
        """Set every entry of *dict_*, as ``dict.update()`` does."""
        entries, given = self._get_session(), dict(dict_)
        if USER_ID_ENTRY in given:
            self._note_login()
        entries.update(given)

    async def aupdate(self, dict_: Any) -> None:
        """See update()."""
        entries, given = await self._aget_session(), dict(dict_)
        if USER_ID_ENTRY in given:
            await self._anote_login()
        entries.update(given)

    # Expiry

    def set_expiry(self, value: Any) -> None:
        """See Django's documentation; a timedelta past the calendar's end means never.

        A configured absolute timeout caps it, and is logged if it does.
        """
        super().set_expiry(value := _within_calendar(value))
        self._note_expiry(value)

    async def aset_expiry(self, value: Any) -> None:
        """See set_expiry()."""
        await super().aset_expiry(value := _within_calendar(value))
        self._note_expiry(value)

    def _note_expiry(self, value: Any) -> None:
        site = self._inner.site
        policy = site.policy()
        asked = lifetime.asked_beyond_cap_ms(policy, custom_expiry(value), site.now())
        if asked is not None:
            events.CUT_SHORT.write(asked // 1000, policy.remembered_cap_ms // 1000)

    def deadlines(self) -> Deadlines:
        """Return when the stored session ends if it isn't used again, for a page that shows it."""
        self._run(self._read_entries())
        return respond.deadlines(self._inner)

    async def adeadlines(self) -> Deadlines:
        """See deadlines()."""
        await self._arun(self._read_entries())
        return respond.deadlines(self._inner)

    # Authentication

    @property
    def authenticated_at(self) -> datetime | None:
        """When the session's user last logged in or was authenticated again.

        None without a user, and for a session that was adopted from an engine which doesn't say so.

        Raises:
            StoreUnavailable: The server did not answer, and ``MULTISESSION_ON_OUTAGE`` is ``"error"``.
        """
        self._run(self._read_entries())
        return respond.authenticated_at(self._inner)

    async def aauthenticated_at(self) -> datetime | None:
        """See authenticated_at(); that one is a property."""
        await self._arun(self._read_entries())
        return respond.authenticated_at(self._inner)

    def note_authentication(self) -> None:
        """Note that the session's user proved again who they are: `authenticated_at` is now.

        The session gets a new key with the save, and keeps its entries and its id.

        Raises:
            PermissionDenied: No user is logged in.
            StoreUnavailable: The session could not be read.
        """
        self._run(self._read_entries())
        end.note_authentication(self._inner)

    async def anote_authentication(self) -> None:
        """See note_authentication()."""
        await self._arun(self._read_entries())
        end.note_authentication(self._inner)

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session ends; see Django's documentation for *kwargs*."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = self.get(EXPIRY_ENTRY)
        return self._expiry_age(**kwargs)

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        """See get_expiry_age()."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = await self.aget(EXPIRY_ENTRY)
        return self._expiry_age(**kwargs)

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends; see Django's documentation for *kwargs*."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = self.get(EXPIRY_ENTRY)
        return self._expiry_date(**kwargs)

    async def aget_expiry_date(self, **kwargs: Any) -> datetime:
        """See get_expiry_date()."""
        if "expiry" not in kwargs:
            kwargs["expiry"] = await self.aget(EXPIRY_ENTRY)
        return self._expiry_date(**kwargs)

    def _expiry_age(self, *, expiry: Any, modification: datetime | None = None) -> int:
        modification = modification or timezone.now()
        ends_at = self._expiry_date(expiry=expiry, modification=modification)
        return (ends_at - modification) // timedelta(seconds=1)

    def _expiry_date(self, *, expiry: Any, modification: datetime | None = None) -> datetime:
        modification = modification or timezone.now()
        used_at, session = aware(modification), self._inner
        began_at = used_at
        if isinstance(session.state, Stored) and not session.is_login:
            began_at = session.state.snapshot.record.began_at
        entries = {**(session.entries or {}), EXPIRY_ENTRY: expiry}
        planned = session.site.life(entries, to_milliseconds(began_at))
        ends_at = lifetime.planned_end(
            planned, custom_expiry(expiry), used_at=used_at, began_at=began_at
        )
        if ends_at is None:
            # Both timeouts are off: the session lives on, and its cookie has to have some length.
            ends_at = used_at + timedelta(seconds=self.get_session_cookie_age())
        if timezone.is_aware(modification):
            return ends_at
        return timezone.make_naive(ends_at, timezone.get_default_timezone())

    # Keys

    def _get_new_session_key(self) -> str:
        # Django asks the store whether a key is taken; 132 random bits never are.
        return self._inner.site.make_key().session_key

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    # Running

    def _run(self, steps: Steps[Result]) -> Result:
        turn = self._turn
        held = turn.enter()
        try:
            return run(steps, self)
        except StoreUnavailable:
            self.has_met_outage = True
            raise
        finally:
            turn.leave(held)
            if held is not None and self._inner.events:
                self._send_signals()

    async def _arun(self, steps: Steps[Result]) -> Result:
        turn = self._turn
        held = await turn.aenter()
        try:
            return await arun(steps, self)
        except StoreUnavailable:
            self.has_met_outage = True
            raise
        finally:
            turn.aleave(held)
            if held is not None and self._inner.events:
                await self._asend_signals()

    def note_answer(self, ask: Ask, error: BaseException | None) -> None:
        """Note what became of a call to the server: the first that fails begins an outage."""
        watch, site = self.outage_watch, self._inner.site
        if error is None:
            duration = watch.note_answer(ask, site.now)
            if duration is not None:
                self._inner.note(signals.outage_ended, duration=duration)
        elif isinstance(error, StoreUnavailable):
            # A record that this process can't read yet is one session's outage: the server answered.
            is_of_server = error.kind is not OutageKind.UNKNOWN_FORMAT
            if is_of_server and watch.note_failure(ask, site.now()):
                self._inner.note(signals.outage_began, reason=str(error))

    def _take_events(self) -> list[Event | Login]:
        happened, self._inner.events = self._inner.events, []
        return happened

    def _send_signals(self) -> None:
        """Send what happened; in an event loop it waits for the next a-verb."""
        if self._inner.events and running_loop() is None:
            for event in self._take_events():
                if isinstance(event, Login):
                    self._run(devices.compare(self._inner, event))
                else:
                    event.signal.send_robust(type(self), **event.arguments)

    async def _asend_signals(self) -> None:
        for event in self._take_events():
            if isinstance(event, Login):
                await self._arun(devices.compare(self._inner, event))
            else:
                await event.signal.asend_robust(type(self), **event.arguments)


def _within_calendar(value: Any) -> Any:
    """Return the date that a timedelta leads to, or the calendar's first or last one."""
    if not isinstance(value, timedelta):
        return value
    try:
        return timezone.now() + value
    except OverflowError:
        return END if value > timedelta(0) else BEGINNING


def _distinct(presented: Sequence[object]) -> Iterable[object]:
    """Return each text in *presented* once: a client may repeat a key."""
    return dict.fromkeys(key for key in presented if isinstance(key, str))
