"""Sessions that their keys hold: the seam between a session and the cookie that carries it.

A session of such an engine has a storage key and a record like any other. Each request has a driver of
its own, over the jar of what came with it, and the text of a session key is made of the record that the
jar holds. Everything else a session does as over any driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_multisession.core import cookie_keys, merging, payloads, signing
from django_multisession.core.encryption import Ring
from django_multisession.core.keys import Verified
from django_multisession.core.records import RECORD_OVERHEAD, Facts, Record, bytes_of_user
from django_multisession.core.secret import SecretBytes
from django_multisession.drivers.cookie.jar import Jar
from django_multisession.session.site import Site
from django_multisession.session.store import DriverSessionStore
from django_multisession.settings.conf import config, cookie, current

if TYPE_CHECKING:
    from django_multisession.drivers.cookie.driver import CookieDriver


class CarriedSite(Site):
    """The surroundings of one session whose key holds it, and the jar of its request."""

    __slots__ = ("jar", "texts")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.jar = Jar(seconds)
        #: Storage key → the bytes of a record, and the session key that holds them.
        self.texts: dict[str, tuple[bytes, str]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """See Site.__reduce__(); a copy holds what came with the request."""
        _make, arguments = super().__reduce__()
        return _copied, (arguments, dict(self.jar.slots), self.texts)

    @property
    def driver(self) -> CookieDriver:
        """The engine's driver over the jar of this request."""
        driver: CookieDriver = self.sender.get_driver()
        return driver.over(self.jar)

    # Keys

    def key_verifier(self) -> Callable[[object], Verified | None]:
        """See Site.key_verifier(). What a key holds lies in the jar from then on."""
        ring, context = self._encryption()

        def verify(session_key: object) -> Verified | None:
            found = cookie_keys.decode(session_key, ring, context)
            if found is None:
                return None
            text = str(session_key)
            if found.raw:
                self.jar.hold(found.storage_key, found.raw)
                self.texts.setdefault(found.storage_key, (found.raw, text))
            return Verified(text, found.storage_key, not found.is_current)

        return verify

    def make_key(self) -> Verified:
        """See Site.make_key(). The key holds no session yet."""
        storage_key = cookie_keys.new_storage_key()
        return Verified(cookie_keys.encode(storage_key, b"", *self._encryption()), storage_key)

    def session_key(self, key: Verified) -> str:
        """See Site.session_key(). The record is encrypted once, and again when it is another one."""
        raw = self.jar.raw(key.storage_key)
        known = self.texts.get(key.storage_key)
        if raw is None:
            return key.session_key
        if known is None or known[0] != raw:
            text = cookie_keys.encode(key.storage_key, raw, *self._encryption())
            known = self.texts[key.storage_key] = (raw, text)
        return known[1]

    def _encryption(self) -> tuple[Ring, bytes]:
        # Opening the driver says what is wrong with the options, and that the library is missing.
        self.sender.get_driver()
        context = cookie_keys.context(cookie()[0], self.bound[0])
        return current().cookie_keys, context

    # Records

    def sign(self, facts: Facts, body: SecretBytes, key: Verified, before: Record | None) -> Record:
        """See Site.sign(). Not compressed: the length of the cookie would tell what it holds."""
        payload, binding = SecretBytes(payloads.plain(body)), self.bound[1]
        return signing.sign(facts, payload, key.storage_key, binding, config().record_keys, before)

    def require_size(self, body: SecretBytes, entries: Mapping[str, Any]) -> None:
        """See Site.require_size(). A browser drops a cookie that is too long."""
        super().require_size(body, entries)
        name, user_id = cookie()[0], merging.user_id(entries)
        user = b"" if user_id is None else bytes_of_user(user_id)
        # The payload has a byte before the body.
        room = cookie_keys.room(name) - RECORD_OVERHEAD - len(user) - 1
        try:
            payloads.require_size(
                body, entries, self._make_serializer(), room, "the room in a cookie"
            )
        finally:
            del body, entries

    def renews_cookie(self, entries: dict[str, Any]) -> bool:  # noqa: ARG002  (Site's signature)
        """See Site.renews_cookie(). A use is noted in the cookie and nowhere else."""
        return True


class CarriedSessionStore(DriverSessionStore):
    """A session that its key holds."""

    _is_carried = True

    def _site(self) -> CarriedSite:
        site = CarriedSite(type(self), self.hooks, self.serializer)
        site.belong_to(self)
        return site


def seconds() -> float:
    """Return the seconds since 1970 by the site's clock."""
    return timezone.now().timestamp()


def _copied(
    arguments: tuple[Any, ...], slots: dict[str, Any], texts: dict[str, Any]
) -> CarriedSite:
    site = CarriedSite(*arguments)
    site.jar.slots.update(slots)
    site.texts.update(texts)
    return site
