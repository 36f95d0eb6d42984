"""Session keys that hold their session: what a cookie of the engine `cookie` is made of.

Encrypted (see `encryption`), in URL-safe Base64 without padding: 16 bytes that become the storage key,
and the record. The storage key stays while the session does, so that an end of it reaches every copy.
"""

from __future__ import annotations

import binascii
import dataclasses
import functools
from os import urandom

from django_multisession.core import encryption
from django_multisession.core.encryption import Decrypted, Ring
from django_multisession.core.keys import STORAGE_KEY_LENGTH
from django_multisession.core.secret import SecretBytes

#: Bytes that the smallest limit of a browser grants to name, value and attributes of a cookie.
COOKIE_LIMIT = 4093
#: Of them, for the attributes: `Expires`, `Max-Age`, `Secure`, `HttpOnly`, `SameSite`, and 64 bytes for
#: a path and a domain.
ATTRIBUTES = 180

_ID_LENGTH = STORAGE_KEY_LENGTH // 2
_PURPOSE = b"django_multisession.cookie.1"
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


@dataclasses.dataclass(slots=True)
class CookieKey:
    """What a session key held.

    Not a tuple: an error reporter walks through those.

    Attributes:
        storage_key: Names the session; not a secret.
        raw: The bytes of its record; empty if it was never stored.
        is_current: Does the key that encrypted it still write?
    """

    storage_key: str
    raw: SecretBytes = dataclasses.field(repr=False)
    is_current: bool


@functools.lru_cache(maxsize=1024)
def context(cookie_name: str, namespace: bytes) -> bytes:
    """Return what a key is encrypted for: a cookie of that name, on the site of *namespace*."""
    return encryption.context(_PURPOSE, cookie_name.encode("utf-8", "surrogatepass"), namespace)


def new_storage_key() -> str:
    """Return the storage key of a new session."""
    return urandom(_ID_LENGTH).hex()


def encode(storage_key: str, raw: bytes, ring: Ring, context: bytes) -> str:
    """Return the session key of *storage_key* that holds the record *raw*."""
    value = SecretBytes(bytes.fromhex(storage_key) + raw)
    encrypted = encryption.encrypt(value, ring, context)
    return _to_text(encrypted).decode()


def decode(session_key: object, ring: Ring, context: bytes) -> CookieKey | None:
    """Return what *session_key* holds; None if no key of *ring* encrypted it for *context*.

    Args:
        session_key: What a client or a caller sent, of any type, any length and with any characters.
        ring: The site's keys.
        context: Of the cookie that *session_key* came in.
    """
    if not (isinstance(session_key, str) and len(session_key) <= COOKIE_LIMIT):
        return None
    if not session_key.isascii():
        return None
    sent = session_key.encode()
    try:
        encrypted = binascii.a2b_base64(
            sent.translate(_FROM_URL_SAFE) + b"=" * (-len(sent) % 4), strict_mode=True
        )
    except binascii.Error:
        return None
    # Base64 has several texts for some bytes: a key has one.
    if _to_text(encrypted) != sent:
        return None
    found = encryption.decrypt(encrypted, ring, context)
    # Its key's id isn't signed, so an unknown one says nothing of a deployment: it may be made up.
    if not isinstance(found, Decrypted) or len(found.value) < _ID_LENGTH:
        return None
    storage_key, raw = found.value[:_ID_LENGTH].hex(), SecretBytes(found.value[_ID_LENGTH:])
    return CookieKey(storage_key, raw, found.is_current)


def room(cookie_name: str) -> int:
    """Return how many bytes of a record fit into a cookie of that name."""
    characters = COOKIE_LIMIT - ATTRIBUTES - len(cookie_name) - len("=")
    return characters * 3 // 4 - encryption.OVERHEAD - _ID_LENGTH


def _to_text(encrypted: bytes) -> bytes:
    encoded = binascii.b2a_base64(encrypted, newline=False)
    return encoded.translate(_TO_URL_SAFE).rstrip(b"=")
