"""What a session asks of the site around it: clock, tokens, serializer and timeouts."""

from __future__ import annotations

import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.base import SessionBase
from django.core.signing import JSONSerializer
from django.utils import timezone

from django_multisession.core import encryption, keys, lifetime, marks, payloads, signing
from django_multisession.core.keys import Verified
from django_multisession.core.merging import USER_ID_ENTRY
from django_multisession.core.records import Facts, Reason, Record, Tombstone, new_revision
from django_multisession.core.secret import SecretBytes, SecretEntries
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.exceptions import BadPayload, StoreUnavailable
from django_multisession.session.custom_expiry import EXPIRY_ENTRY, aware, custom_expiry
from django_multisession.settings.conf import config, current

if TYPE_CHECKING:
    from django_multisession.drivers.base import Driver

#: Django's methods that a subclass may override, and that its engines would call.
HOOKS = (
    "load",
    "aload",
    "save",
    "asave",
    "delete",
    "adelete",
    "encode",
    "decode",
    "get_session_cookie_age",
    "get_expiry_age",
    "get_expiry_date",
    "get_expire_at_browser_close",
    "get_namespace",
)


#: The site whose ``get_session_cookie_age()`` this thread or task is asking.
_asking: ContextVar[Site | None] = ContextVar("asking", default=None)

#: Django's clock, unless something replaced it before this was imported.
_DJANGOS_NOW = timezone.now if timezone.now.__module__ == timezone.__name__ else None
_DATETIME = datetime


class Site:
    """The surroundings of a session: of one store object, or of all whose class has no hooks.

    Attributes:
        sender: The engine's class, which signals name as their sender.
        hooks: Names of Django's methods that the class overrides.
        serializer_class: What ``SESSION_SERIALIZER`` named.
    """

    __slots__ = ("_bound", "_make_serializer", "_store", "hooks", "sender", "serializer_class")

    def __init__(
        self,
        sender: Any,
        hooks: frozenset[str],
        serializer_class: Any,
        bound: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.sender = sender
        self.hooks = hooks
        self.serializer_class = serializer_class
        self._make_serializer: Callable[[], payloads.Serializer] = (
            payloads.CompactJSON if serializer_class is JSONSerializer else serializer_class
        )
        self._bound = bound
        self._store: weakref.ref[SessionBase] | None = None

    def belong_to(self, store: SessionBase) -> None:
        """Ask the hooks of *store* from now on: of a copy, once there is one."""
        # A session that was read is freed by reference counting: nothing in it leads back.
        self._store = weakref.ref(store) if self.hooks else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy all but the reference to the store, which belongs to the original."""
        return Site, (self.sender, self.hooks, self.serializer_class, self._bound)

    # Clock and tokens

    @property
    def driver(self) -> Driver:
        """The driver that keeps the engine's records."""
        driver: Driver = self.sender.get_driver()
        return driver

    @property
    def is_listed(self) -> bool:
        """Does another engine list the sessions?"""
        return isinstance(self.driver, ListedDriver)

    @property
    def notes(self) -> Driver:
        """The driver that keeps what is noted of users: marks and seats."""
        driver = self.driver
        return driver.notes if isinstance(driver, ListedDriver) else driver

    def now(self) -> int:
        """Return the milliseconds since 1970 by Django's clock."""
        if timezone.now is _DJANGOS_NOW and timezone.datetime is _DATETIME:  # type: ignore[attr-defined]  # for freezegun
            # No test replaces the clock: the same without a date, because every request reads it
            # several times.
            return time.time_ns() // 1_000_000
        moment = timezone.now()
        # Half a microsecond, for what a float may be short of it.
        return int(
            (moment if moment.tzinfo is not None else aware(moment)).timestamp() * 1000 + 0.0005
        )

    def monotonic(self) -> float:
        """Return seconds by a clock that is never set."""
        return time.monotonic()

    def tombstone(self, reason: Reason) -> Tombstone:
        """Return a new tombstone that names no successor."""
        return Tombstone(new_revision(), reason)

    # Signatures

    @property
    def bound(self) -> tuple[bytes, bytes]:
        """What is signed of the site or tenant: with a key, and with a record.

        A hook is asked for it once by each store object.
        """
        if "get_namespace" not in self.hooks:
            return _binding_to(config().namespace)
        if self._bound is None:
            given = self._hook("get_namespace")
            self._bound = _binding_to(config().namespace if given is None else str(given))
        return self._bound

    def place_of_mark(self, user: bytes | None) -> str:
        """Return the storage key of the mark that ends the logins of *user*, if there is a user."""
        return "" if user is None else marks.place_of(user, self.bound[0])

    @property
    def has_namespace(self) -> bool:
        """May there be sessions of other tenants in the store?"""
        return "get_namespace" in self.hooks or bool(self.bound[0])

    def key_verifier(self) -> Callable[[object], Verified | None]:
        """Return what verifies session keys, with the secrets and the namespace.

        Asked for before any session key stands in a frame: wrong settings are an error, and its
        mail shows what frames hold.
        """
        # With a key a session begins to be used: what the settings say now.
        signing_keys, namespace = current().signing_keys, self.bound[0]
        return functools.partial(keys.verify, signing_keys=signing_keys, namespace=namespace)

    def make_key(self) -> Verified:
        """Return a new session key."""
        return keys.make(current().signing_keys, self.bound[0])

    def session_key(self, key: Verified) -> str:
        """Return the text of *key*, as it is now: the client's own, until its session is adopted."""
        return key.session_key if key.foreign is None else str(key.foreign)

    def sign(self, facts: Facts, body: SecretBytes, key: Verified, before: Record | None) -> Record:
        """Return the record of *facts* and *body* under *key*, written over *before*."""
        binding, ring = self.bound[1], config().encryption
        if ring.writes is None:
            payload = SecretBytes(payloads.compress(body))
        else:
            payload = SecretBytes(payloads.encrypt(body, ring, _place_of(binding, key)))
        return signing.sign(facts, payload, key.storage_key, binding, config().record_keys, before)

    def open(self, record: Record, key: Verified) -> SecretBytes:
        """Return the serialized entries in *record*.

        Raises:
            BadPayload: It was not signed for this place and site, or is damaged.
            StoreUnavailable: A key that this process doesn't know signed or encrypted it.
        """
        binding = self.bound[1]
        signing.verify(record, key.storage_key, binding, config().record_keys)
        if record.payload[:1] == payloads.ENCRYPTED:
            return payloads.decrypt(record.payload, config().encryption, _place_of(binding, key))
        return SecretBytes(payloads.decompress(record.payload))

    def open_listed(self, record: Record, place: str) -> SecretBytes:
        """Return the serialized entries of *record*, which a list has under the storage key *place*.

        Raises:
            BadPayload: See open().
            StoreUnavailable: See open().
        """
        return self.open(record, Verified("", place))

    def is_signed_by_fallback(self, record: Record) -> bool:
        """Must *record* be signed again, before the secret that signed it is dropped?"""
        return not signing.is_current(record, config().record_keys)

    # Serializer

    def dumps(self, entries: Mapping[str, Any]) -> SecretBytes:
        """Serialize *entries*.

        Raises:
            EntryNotSerializable: The serializer can't take one of the entries.
        """
        try:
            if "encode" in self.hooks:
                return SecretBytes(self._hook("encode", dict(entries)).encode())
            return SecretBytes(payloads.serialize(entries, self._make_serializer()))
        finally:
            # An error reporter walks through the locals of every frame.
            del entries

    def loads(self, body: SecretBytes) -> SecretEntries:
        """Return the entries in *body*.

        Raises:
            BadPayload: The serializer can't read it.
        """
        if "encode" not in self.hooks:
            return SecretEntries(payloads.deserialize(body, self._make_serializer()))
        try:
            entries = self._hook("decode", body.decode())
        except StoreUnavailable:
            raise  # it may use the session
        except Exception as error:
            # A record that was stored before the class had the hook, for example.
            raise BadPayload(f"decode() can't read it ({type(error).__name__})") from error
        if not isinstance(entries, dict):
            raise BadPayload(f"expected a dict of entries (got {type(entries).__name__})")
        return SecretEntries(entries)

    def require_size(self, body: SecretBytes, entries: Mapping[str, Any]) -> None:
        """Refuse *entries* that are too big as *body*.

        Raises:
            SessionTooLarge: They are; the message names the biggest.
        """
        try:
            # Most bodies are small; a call less for each.
            if len(body) > config().max_size:
                payloads.require_size(body, entries, self._make_serializer(), config().max_size)
        finally:
            del entries

    def require_record_size(self, record: Record, entries: Mapping[str, Any]) -> None:
        """Refuse *entries* whose *record* is larger than the server takes.

        Raises:
            SessionTooLarge: It is; the message names the biggest of them.
        """
        size, most = len(record.raw), self.driver.capabilities.largest_record
        if most is None or size <= most:
            return
        limit = f"{most} bytes as a record, which is what the engine's server takes"
        refusal = payloads.too_large(size, limit, entries, self._make_serializer())
        del entries
        raise refusal

    # Timeouts

    def policy(self) -> lifetime.Policy:
        """Return the timeouts, with those that a subclass's ``get_session_cookie_age()`` implies."""
        policy = config().policy
        is_hooked = "get_session_cookie_age" in self.hooks and not policy.idle_is_configured
        if not is_hooked or _asking.get() is self:
            return policy
        # The hook may read the session, whose record can't be opened without the answer.
        asked = _asking.set(self)
        try:
            idle = timedelta(seconds=self._hook("get_session_cookie_age"))
        finally:
            _asking.reset(asked)
        absolute = policy.absolute_timeout
        if absolute is not None and not policy.absolute_is_configured:
            absolute = max(absolute, idle)
        return dataclasses.replace(policy, idle_timeout=idle, absolute_timeout=absolute)

    def life(self, entries: dict[str, Any], began_ms: int) -> lifetime.Life:
        """Return how long a session with *entries* may live."""
        # Not by the entries' own get(), which notes what code was given.
        custom = dict.get(entries, EXPIRY_ENTRY)
        return lifetime.life(
            self.policy() if self.hooks else config().policy,
            None if custom is None else custom_expiry(custom),
            began_ms=began_ms,
            is_anonymous=dict.get(entries, USER_ID_ENTRY) is None,
        )

    def touch_due_ms(self, record: Record) -> int:
        """Return when the next use of *record* is worth a write."""
        return lifetime.touch_due_ms(self.policy() if self.hooks else config().policy, record)

    def cookie_age(self) -> float:
        """Return how many seconds a cookie is set for where the session does not say."""
        if "get_session_cookie_age" in self.hooks:
            return float(self._hook("get_session_cookie_age"))
        return config().cookie_age

    def renews_cookie(self, entries: dict[str, Any]) -> bool:
        """Is the cookie of a session with *entries* set again as it is used? It runs out otherwise."""
        # Not by is_browser_length(): most requests ask.
        custom = dict.get(entries, EXPIRY_ENTRY)
        return not config().expire_at_browser_close if custom is None else bool(custom != 0)

    def is_browser_length(self, entries: dict[str, Any]) -> bool:
        """Does the cookie of a session with *entries* end with the browser?"""
        custom = dict.get(entries, EXPIRY_ENTRY)
        return config().expire_at_browser_close if custom is None else bool(custom == 0)

    def _hook(self, name: str, *arguments: Any) -> Any:
        store = self._store and self._store()
        # Nothing asks a session whose store object is gone.
        return getattr(store, name)(*arguments)


@functools.lru_cache(maxsize=1024)
def _binding_to(namespace: str) -> tuple[bytes, bytes]:
    return namespace.encode("utf-8", "surrogatepass"), signing.binding(namespace)


def _place_of(binding: bytes, key: Verified) -> bytes:
    """Return what the payload of the record under *key* is encrypted for."""
    return encryption.context(b"record", binding, key.storage_key.encode())


def overridden(store: type[SessionBase], base: type[SessionBase]) -> frozenset[str]:
    """Return the `HOOKS` that *store* overrides; *base* is this package's own store class."""
    found = {name for name in HOOKS if getattr(store, name) is not getattr(base, name)}
    # A hook is called by the name of its sync verb, by an async run too.
    found |= {name[1:] for name in found if name[1:] in HOOKS}
    if found & {"encode", "decode"}:
        found |= {"encode", "decode"}
    return frozenset(found)
