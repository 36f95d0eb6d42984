"""Authenticated encryption of values that leave the process: AES-256-GCM under a key of their own.

======  ======  ==========================================================
offset  bytes   what
======  ======  ==========================================================
0       1       version
1       4       id of the key
5       24      random: 12 bytes make the subkey, 12 are the nonce
29      …       ciphertext
…       16      tag
======  ======  ==========================================================

Each value has a subkey: the HMAC-SHA256 of its *context* and 12 of its random bytes under the key of
the ring. So a key never meets the limits of AES-GCM with random nonces: 192 random bits stand behind
each value, as in XAES-256-GCM. The context says what a value is for: its parts are joined with their
lengths, so that no two lists of parts make the same context (CVE-2026-6873). What opens under one
context opens under no other.

Nothing is compressed: the length of a compressed value tells what it holds (CRIME).

A value that doesn't open is an answer (`Refusal`), and never opens by a weaker form (CVE-2026-39324).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import hmac
import types
from collections.abc import Mapping
from os import urandom
from typing import Any

from django_multisession.core.secret import MacKey, SecretBytes

_VERSION = b"\x01"
_ID_LENGTH = 4
_SALT_LENGTH = 12
_NONCE_LENGTH = 12
_TAG_LENGTH = 16
_SALT_AT = len(_VERSION) + _ID_LENGTH
_NONCE_AT = _SALT_AT + _SALT_LENGTH
_CIPHERTEXT_AT = _NONCE_AT + _NONCE_LENGTH
#: By how many bytes an encrypted value is longer than what it holds.
OVERHEAD = _CIPHERTEXT_AT + _TAG_LENGTH

_PURPOSE = b"django_multisession.encryption.1"


class Refusal(enum.Enum):
    """Why a value doesn't open."""

    #: It was made under another context, changed, or was never one.
    DAMAGED = "it doesn't open"
    #: The ring knows the key by name only: what it wrote is no longer read.
    REMOVED_KEY = "its key was removed"
    #: The ring has no such key: a deployment lacks it, or the value is made up.
    UNKNOWN_KEY = "its key isn't known"


@dataclasses.dataclass(slots=True)
class Decrypted:
    """What a value held.

    Not a tuple: an error reporter walks through those.

    Attributes:
        value: What was encrypted.
        is_current: Does the key that encrypted it still write?
    """

    value: SecretBytes = dataclasses.field(repr=False)
    is_current: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Ring:
    """Keys by their ids.

    Attributes:
        keys: Each opens what it encrypted; None stands for a key that was removed.
        writes: Id of the key that encrypts; None if none does yet.
    """

    keys: Mapping[bytes, MacKey | None] = dataclasses.field(repr=False)
    writes: bytes | None


#: Nothing is encrypted, and what was is of an unknown key.
NO_KEYS = Ring(types.MappingProxyType({}), None)


def derive(secret: bytes) -> MacKey:
    """Derive from *secret* the key that subkeys are made with, and nothing else."""
    return MacKey(hmac.digest(secret, _PURPOSE, "sha256"))


def ring_of(keys: tuple[MacKey, ...]) -> Ring:
    """Return the ring of *keys*, the first of which encrypts, under ids that reveal nothing of them."""
    # Of equal keys, the first stays: a fallback that repeats the secret is none.
    named = {key.digest(b"id")[:_ID_LENGTH]: key for key in keys}
    return Ring(named, next(iter(named), None))


def ring_of_names(secrets: Mapping[str, bytes | None], writes: str | None) -> Ring:
    """Return the ring of *secrets* by their names; the one that is called *writes* encrypts."""
    named = {
        id_of(name): None if secret is None else derive(secret) for name, secret in secrets.items()
    }
    return Ring(named, None if writes is None else id_of(writes))


def id_of(name: str) -> bytes:
    """Return the id of the key that a setting calls *name*."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:_ID_LENGTH]


def context(*parts: bytes) -> bytes:
    """Return *parts*, which say what a value is for, with their lengths."""
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def encrypt(value: bytes, ring: Ring, context: bytes) -> bytes:
    """Return *value*, encrypted for *context*.

    Raises:
        ValueError: No key of *ring* writes.
        ImportError: The library `cryptography` isn't installed.
    """
    key = ring.keys.get(ring.writes or b"")
    if ring.writes is None or key is None:
        raise ValueError("there is no key to encrypt with")
    random = urandom(_SALT_LENGTH + _NONCE_LENGTH)
    head = _VERSION + ring.writes
    body: bytes = _cipher(key, context, random).encrypt(_nonce(random), value, head)
    return head + random + body


def decrypt(encrypted: bytes, ring: Ring, context: bytes) -> Decrypted | Refusal:
    """Return what *encrypted* holds, or why it doesn't open for *context*.

    Raises:
        ImportError: The library `cryptography` isn't installed.
    """
    head, random = encrypted[:_SALT_AT], encrypted[_SALT_AT:_CIPHERTEXT_AT]
    if len(encrypted) < OVERHEAD or not head.startswith(_VERSION):
        return Refusal.DAMAGED
    key_id = head[len(_VERSION) :]
    if key_id not in ring.keys:
        return Refusal.UNKNOWN_KEY
    if (key := ring.keys[key_id]) is None:
        return Refusal.REMOVED_KEY
    cipher, refused = _cipher(key, context, random), _library()[1]
    try:
        value = SecretBytes(cipher.decrypt(_nonce(random), encrypted[_CIPHERTEXT_AT:], head))
    except refused:
        return Refusal.DAMAGED
    return Decrypted(value, key_id == ring.writes)


def require_library() -> None:
    """Import the library.

    Raises:
        ImportError: It isn't installed.
    """
    _library()


def _cipher(key: MacKey, context: bytes, random: bytes) -> Any:
    return _library()[0](key.digest(context + random[:_SALT_LENGTH]))


def _nonce(random: bytes) -> bytes:
    return random[_SALT_LENGTH:]


@functools.cache
def _library() -> tuple[Any, type[Exception]]:
    """Return the cipher and its error; imported late, because most sites encrypt nothing."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag
