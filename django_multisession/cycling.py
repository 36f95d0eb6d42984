"""Periodic new keys: when one is due, and how a client that missed it finds its session again.

A key that was stolen unseen is good until the session ends; a new one now and then ends that
(OWASP Session Management, "Renew the Session ID"). But responses get lost, and other requests with
the old key are under way. So what is left under the old key is a forward: the new key, encrypted
with what only the old one yields. Who has the cookie may follow; who has a dump of the store may not.

The client is given the new key until it comes with it. The old one is good until then, and for a
grace period after that.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django_multisession import keys
from django_multisession.records import Record

#: How many keys a forward may lead over: nobody shall make us follow for ever.
MOST_HOPS = 16

_VERSION = b"\x01"
_NONCE_LENGTH = 12
_PURPOSE = b"django_multisession.forward.1"


def is_due(cycle_after: timedelta | None, grace: timedelta, record: Record, now: datetime) -> bool:
    """Is the key of *record* so old that its client shall get a new one?

    Not before the key before it is out of its grace period: there is one old key at a time.
    """
    if cycle_after is None or record.old_key is not None:
        return False
    return now - record.keyed_at >= max(cycle_after, grace)


def is_in_grace(grace: timedelta, record: Record, now: datetime) -> bool:
    """Is the key that led to *record* still good?"""
    return record.old_key is not None or now - record.keyed_at < grace


def forward(old: keys.Verified, new: keys.Verified) -> bytes:
    """Return what leads from *old* to *new*, for who has *old*.

    Raises:
        ImportError: The library cryptography is not installed; a check reports it.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_LENGTH)
    sealed = AESGCM(_key(old)).encrypt(nonce, new.random_part.encode(), old.storage_key.encode())
    return _VERSION + nonce + sealed


def follow(
    old: keys.Verified, led_by: bytes, signing_keys: Sequence[bytes]
) -> keys.Verified | None:
    """Return the key that *led_by*, found under *old*, leads to; None if it leads nowhere."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        # Another process of the site has it, and made this one.
        return None
    version, nonce, sealed = led_by[:1], led_by[1 : 1 + _NONCE_LENGTH], led_by[1 + _NONCE_LENGTH :]
    if version != _VERSION:
        return None
    try:
        random_part = AESGCM(_key(old)).decrypt(nonce, sealed, old.storage_key.encode())
    except (InvalidTag, ValueError):
        return None
    # Signed with today's secret, whichever it was then.
    return keys.sign(random_part.decode("ascii", "replace"), signing_keys)


def _key(old: keys.Verified) -> bytes:
    # The storage key, which is in the store, is another function of the same 132 bits.
    return hmac.digest(old.random_part.encode(), _PURPOSE, "sha256")
