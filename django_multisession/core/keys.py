"""Session keys: the secret in the cookie, signed so that a made-up one costs no I/O.

A key is 22 random characters (132 bits; OWASP ASVS 7.2.3 asks for 128) and 18 characters of an
HMAC-SHA256 tag (108 bits) over them and the site's namespace. 40 characters, because that is the
width of the column in which Django and third-party apps keep session keys. The tag depends on nothing
else: Django compares keys for equality.
"""

from __future__ import annotations

import binascii
import dataclasses
import hashlib
import hmac
import re
from collections.abc import Sequence
from os import urandom

from django_multisession.core.secret import MacKey, SecretBytes, SecretText

#: Characters of six bits each, and the bytes that they are made of.
_RANDOM_LENGTH, _RANDOM_BYTES = 22, 17
_TAG_LENGTH = 18
#: Length of a session key.
LENGTH = _RANDOM_LENGTH + _TAG_LENGTH
#: Characters of a storage key: 128 bits in hex.
STORAGE_KEY_LENGTH = 32

_PURPOSE = b"django_multisession.session_key.1"
_ADOPTING_PURPOSE = b"django_multisession.adopted_key.1"
#: Keys of Django's engines and of those that leave keys to Django, and what `signed_cookies` sends.
_OF_ANOTHER_ENGINE = re.compile(r"[a-z0-9]{32}|[\w.-]+:[A-Za-z0-9]{6}:[\w-]{43}", re.ASCII)
#: What may be another engine's key: a column, a cache and a cookie hold it.
_FOREIGN = re.compile(r"[\x21-\x7e]{8,4096}")
_DJANGOS_ALPHABET, _DJANGOS_LENGTH = "abcdefghijklmnopqrstuvwxyz0123456789", 32
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclasses.dataclass(frozen=True, slots=True)
class Verified:
    """A session key that was signed by one of our secrets.

    Not a tuple: an error reporter walks through those, and would show the key.

    Attributes:
        session_key: The key, signed by the current secret.
        storage_key: What drivers are given: 128 bits of the SHA-256 of the random part, in hex. Not
            a secret: a dump of the store holds no usable cookie, and an index look-up cannot be
            timed (CVE-2019-16782).
        by_fallback: Was the tag made with another secret than the current one?
        foreign: The key of another engine that the client sent instead; its session is adopted
            under this one.
    """

    session_key: str = dataclasses.field(repr=False)
    storage_key: str
    by_fallback: bool = False
    foreign: SecretText | None = None


def derive(secret: bytes) -> MacKey:
    """Derive from *secret* (``SECRET_KEY``) the key that signs session keys and nothing else."""
    return MacKey(hmac.digest(secret, _PURPOSE, "sha256"))


def derive_adopting(secret: bytes) -> MacKey:
    """Derive from *secret* the key that makes new session keys of another engine's."""
    return MacKey(hmac.digest(secret, _ADOPTING_PURPOSE, "sha256"))


def origin_of(session_key: str, *, is_ours: bool) -> SecretBytes:
    """Return the name of a session in the engine that it comes from.

    Args:
        session_key: Its key there, a storage key in an engine of ours.
        is_ours: Is it one of ours?
    """
    return SecretBytes((b"ours:" if is_ours else b"theirs:") + session_key.encode())


def place_in(origin: bytes) -> str:
    """Return the storage key in *origin*, which names a session of an engine of ours."""
    return origin.removeprefix(b"ours:").decode()


def adopted(origin: bytes, adopting_key: MacKey, signing_key: MacKey, namespace: bytes) -> Verified:
    """Return the key under which the session of *origin* is adopted: always the same.

    So two requests that come with one old key concurrently adopt one session.

    Args:
        origin: Names the session in the engine that it comes from.
        adopting_key: From `derive_adopting`.
        signing_key: From `derive`.
        namespace: Of the site or tenant.
    """
    digest = adopting_key.digest(_framed(namespace, origin))
    encoded = binascii.b2a_base64(digest, newline=False).translate(_URL_SAFE)
    return _signed(encoded[:_RANDOM_LENGTH], signing_key, namespace)


def returned(origin: bytes, adopting_key: MacKey, namespace: bytes) -> str:
    """Return the key of Django's form under which a session goes back to another package's engine."""
    number = int.from_bytes(adopting_key.digest(_framed(namespace, b"back:" + origin)))
    characters = []
    for _ in range(_DJANGOS_LENGTH):
        number, digit = divmod(number, len(_DJANGOS_ALPHABET))
        characters.append(_DJANGOS_ALPHABET[digit])
    return "".join(characters)


def adoption_mark(origin: bytes, namespace: bytes) -> str:
    """Return the storage key of the note that the session of *origin* was adopted or ended.

    No secret is in it: a rotation of ``SECRET_KEY`` must not make the site forget.
    """
    return noted_at(_ADOPTING_PURPOSE, origin, namespace)


def noted_at(purpose: bytes, named: bytes, namespace: bytes) -> str:
    """Return the storage key of a note on *named*, beside the sessions of the site or tenant *namespace*."""
    message = b"%b:%d:%b%b" % (purpose, len(namespace), namespace, named)
    return hashlib.sha256(message).hexdigest()[:STORAGE_KEY_LENGTH]


def is_foreign(session_key: object) -> bool:
    """May *session_key* be the key of another engine?"""
    return isinstance(session_key, str) and bool(_FOREIGN.fullmatch(session_key))


def make(signing_keys: Sequence[MacKey], namespace: bytes = b"") -> Verified:
    """Make a new session key for *namespace*, signed with the first of *signing_keys*."""
    encoded = binascii.b2a_base64(urandom(_RANDOM_BYTES), newline=False)
    random_part = encoded.translate(_URL_SAFE)[:_RANDOM_LENGTH]
    return _signed(random_part, signing_keys[0], namespace)


def verify(
    session_key: object, signing_keys: Sequence[MacKey], namespace: bytes = b""
) -> Verified | None:
    """Return what *session_key* stands for, or None if none of *signing_keys* signed it.

    Args:
        session_key: What a client or a caller sent, of any type, any length and with any characters.
        signing_keys: From `derive`, the current one first, then the fallbacks.
        namespace: Of the site or tenant.
    """
    # Code may look for what it was sent as JSON: a number, for example. Of the characters only that
    # they are ASCII is asked: what has our tag is made of ours.
    if not (isinstance(session_key, str) and len(session_key) == LENGTH and session_key.isascii()):
        return None
    sent = session_key.encode()
    random_part, tag = sent[:_RANDOM_LENGTH], sent[_RANDOM_LENGTH:]
    for signing_key in signing_keys:
        if hmac.compare_digest(tag, _tag(random_part, signing_key, namespace)):
            if signing_key is signing_keys[0]:
                return Verified(session_key, _storage_key(random_part))
            return _signed(random_part, signing_keys[0], namespace, by_fallback=True)
    return None


def is_of_another_engine(session_key: object) -> bool:
    """Has *session_key* the form of one from before a switch to this package?"""
    return isinstance(session_key, str) and bool(_OF_ANOTHER_ENGINE.fullmatch(session_key))


def _framed(namespace: bytes, origin: bytes) -> bytes:
    return b"%d:%b%b" % (len(namespace), namespace, origin)


def _signed(
    random_part: bytes, signing_key: MacKey, namespace: bytes, *, by_fallback: bool = False
) -> Verified:
    session_key = random_part + _tag(random_part, signing_key, namespace)
    return Verified(session_key.decode(), _storage_key(random_part), by_fallback)


def _storage_key(random_part: bytes) -> str:
    return hashlib.sha256(random_part).hexdigest()[:STORAGE_KEY_LENGTH]


def _tag(random_part: bytes, signing_key: MacKey, namespace: bytes) -> bytes:
    digest = signing_key.digest(random_part + namespace)
    return binascii.b2a_base64(digest, newline=False).translate(_URL_SAFE)[:_TAG_LENGTH]
