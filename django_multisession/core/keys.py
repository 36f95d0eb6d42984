"""Session keys: the secret in the cookie, signed so that a made-up one costs no I/O.

A key is 22 random characters (132 bits; OWASP ASVS 7.2.3 asks for 128) and 18 characters of an
HMAC-SHA256 tag (108 bits) over them. 40 characters, because that is the width of the column in
which Django and third-party apps keep session keys. The tag depends on the random part alone:
Django compares keys for equality.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from django_multisession.core.secret import SecretBytes

_RANDOM_LENGTH = 22
_TAG_LENGTH = 18
#: Length of a session key.
LENGTH = _RANDOM_LENGTH + _TAG_LENGTH

_SHAPE = re.compile(rf"[A-Za-z0-9_-]{{{LENGTH}}}", re.ASCII)
_PURPOSE = b"django_multisession.session_key.1"


@dataclasses.dataclass(frozen=True, slots=True)
class Verified:
    """A session key that was signed by one of our secrets.

    Attributes:
        session_key: The key, signed by the current secret.
        storage_key: What drivers are given: SHA-256 of the random part, in hex. Not a secret: a
            dump of the store holds no usable cookie, and an index look-up cannot be timed
            (CVE-2019-16782).
        by_fallback: Was the tag made with another secret than the current one?
    """

    session_key: str = dataclasses.field(repr=False)
    storage_key: str
    by_fallback: bool = False


def derive(secret: bytes) -> SecretBytes:
    """Derive from *secret* (``SECRET_KEY``) the key that signs session keys and nothing else."""
    return SecretBytes(hmac.digest(secret, _PURPOSE, "sha256"))


def make(signing_keys: Sequence[bytes]) -> Verified:
    """Make a new session key, signed with the first of *signing_keys*."""
    return sign(secrets.token_urlsafe(_RANDOM_LENGTH)[:_RANDOM_LENGTH], signing_keys)


def verify(session_key: object, signing_keys: Sequence[bytes]) -> Verified | None:
    """Return what *session_key* stands for, or None if none of *signing_keys* signed it.

    Args:
        session_key: What a client or a caller sent, of any type, any length and with any characters.
        signing_keys: From `derive`, the current one first, then the fallbacks.
    """
    # Code may look for what it was sent as JSON: a number, for example.
    if not (isinstance(session_key, str) and _SHAPE.fullmatch(session_key)):
        return None
    random_part, tag = session_key[:_RANDOM_LENGTH], session_key[_RANDOM_LENGTH:]
    for index, signing_key in enumerate(signing_keys):
        if hmac.compare_digest(tag, _tag(random_part, signing_key)):
            if index == 0:
                return Verified(session_key, _storage_key(random_part))
            return sign(random_part, signing_keys, by_fallback=True)
    return None


def sign(random_part: str, signing_keys: Sequence[bytes], *, by_fallback: bool = False) -> Verified:
    """Return the session key of *random_part*, signed with the first of *signing_keys*."""
    return Verified(
        session_key=random_part + _tag(random_part, signing_keys[0]),
        storage_key=_storage_key(random_part),
        by_fallback=by_fallback,
    )


def _storage_key(random_part: str) -> str:
    return hashlib.sha256(random_part.encode()).hexdigest()


def _tag(random_part: str, signing_key: bytes) -> str:
    digest = hmac.digest(signing_key, random_part.encode(), "sha256")
    return base64.urlsafe_b64encode(digest)[:_TAG_LENGTH].decode()
