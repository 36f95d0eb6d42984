"""What a session asks of the site around it: clock, tokens, serializer and timeouts."""

from __future__ import annotations

import dataclasses
import secrets
import time
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

from django_multisession.conf import config
from django_multisession.core import lifetime, merging, payloads
from django_multisession.core.records import Reason, Record, Tombstone, truncate
from django_multisession.core.secret import SecretBytes, SecretEntries
from django_multisession.exceptions import BadPayload
from django_multisession.session.custom_expiry import EXPIRY_ENTRY, aware, custom_expiry

#: Django's methods that a subclass may override, and that its engines would call.
HOOKS = ("load", "aload", "delete", "adelete", "encode", "decode", "get_session_cookie_age")


class Site:
    """The surroundings of one store object's session.

    Attributes:
        sender: The engine's class, which signals name as their sender.
        hooks: Names of Django's methods that the class overrides.
    """

    __slots__ = ("_is_asking", "_serializer", "_store", "hooks", "sender")

    def __init__(self, store: SessionBase, hooks: frozenset[str]) -> None:
        self.sender = type(store)
        self.hooks = hooks
        self._is_asking = False
        self._serializer: payloads.Serializer = store.serializer()
        # A session that was read is freed by reference counting: nothing in it leads back.
        self._store = weakref.ref(store) if self.hooks else None

    # Clock and tokens

    def now(self) -> datetime:
        """Return the time by Django's clock, in UTC and whole milliseconds."""
        moment = timezone.now()
        return truncate(moment if moment.tzinfo is UTC else aware(moment))

    def monotonic(self) -> float:
        """Return seconds by a clock that is never set."""
        return time.monotonic()

    def tombstone(self, reason: Reason) -> Tombstone:
        """Return a new tombstone that names no successor."""
        return Tombstone(secrets.token_hex(8), reason)

    # Serializer

    def dumps(self, entries: Mapping[str, Any]) -> SecretBytes:
        """Serialize *entries*.

        Raises:
            EntryNotSerializable: The serializer can't take one of the entries.
        """
        try:
            if "encode" in self.hooks:
                return SecretBytes(self._hook("encode", dict(entries)).encode())
            return SecretBytes(payloads.serialize(entries, self._serializer))
        finally:
            # An error reporter walks through the locals of every frame.
            del entries

    def loads(self, body: SecretBytes) -> SecretEntries:
        """Return the entries in *body*.

        Raises:
            BadPayload: The serializer can't read it.
        """
        if "encode" not in self.hooks:
            return SecretEntries(payloads.deserialize(body, self._serializer))
        entries = self._hook("decode", body.decode())
        if not isinstance(entries, dict):
            raise BadPayload(f"expected a dict of entries (got {type(entries).__name__})")
        return SecretEntries(entries)

    def require_size(self, body: SecretBytes, entries: Mapping[str, Any]) -> None:
        """Refuse *entries* that are too big as *body*.

        Raises:
            SessionTooLarge: They are; the message names the biggest.
        """
        try:
            payloads.require_size(body, entries, self._serializer, config().max_size)
        finally:
            del entries

    # Timeouts

    def policy(self) -> lifetime.Policy:
        """Return the timeouts, with those that a subclass's ``get_session_cookie_age()`` implies."""
        policy = config().policy
        is_hooked = "get_session_cookie_age" in self.hooks and not policy.idle_is_configured
        if not is_hooked or self._is_asking:
            return policy
        # The hook may read the session, whose record can't be opened without the answer.
        self._is_asking = True
        try:
            idle = timedelta(seconds=self._hook("get_session_cookie_age"))
        finally:
            self._is_asking = False
        absolute = policy.absolute_timeout
        if absolute is not None and not policy.absolute_is_configured:
            absolute = max(absolute, idle)
        return dataclasses.replace(policy, idle_timeout=idle, absolute_timeout=absolute)

    def planned_life(self, entries: Mapping[str, Any], began_at: datetime) -> lifetime.Life:
        """Return how long a session with *entries* may live."""
        return lifetime.life(
            self.policy(),
            custom_expiry(entries.get(EXPIRY_ENTRY)),
            began_at=began_at,
            is_anonymous=merging.user_id(entries) is None,
        )

    def life(self, entries: Mapping[str, Any], began_at: datetime) -> lifetime.Life:
        """Return `planned_life` as a record can hold it."""
        return self.planned_life(entries, began_at).as_stored()

    def is_touch_due(self, record: Record, now: datetime) -> bool:
        """Was the last use of *record* noted so long ago that a new one is worth a write?"""
        return lifetime.is_touch_due(self.policy(), record, now)

    def is_browser_length(self, entries: Mapping[str, Any]) -> bool:
        """Does the cookie of a session with *entries* end with the browser?"""
        custom = entries.get(EXPIRY_ENTRY)
        return config().expire_at_browser_close if custom is None else bool(custom == 0)

    def _hook(self, name: str, *arguments: Any) -> Any:
        store = self._store and self._store()
        # Nothing asks a session whose store object is gone.
        return getattr(store, name)(*arguments)


def overridden(store: type[SessionBase], base: type[SessionBase]) -> frozenset[str]:
    """Return the `HOOKS` that *store* overrides; *base* is this package's own store class."""
    found = {name for name in HOOKS if getattr(store, name) is not getattr(base, name)}
    if found & {"encode", "decode"}:
        found |= {"encode", "decode"}
    return frozenset(found)
