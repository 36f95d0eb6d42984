"""Sessions that their keys hold: the seam between a session and the cookie that carries it.

A session of such an engine has a storage key and a record like any other. Each request has a driver of
its own, over the jar of what came with it, and the text of a session key is made of the record that the
jar holds. Everything else a session does as over any driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_multisession.core import cookie_keys, encryption, merging, payloads, signing
from django_multisession.core.devices import ADDRESS_ENTRY, USER_AGENT_ENTRY
from django_multisession.core.encryption import Ring
from django_multisession.core.keys import Verified
from django_multisession.core.records import RECORD_OVERHEAD, Facts, Record, bytes_of_user
from django_multisession.core.secret import SecretBytes, SecretEntries
from django_multisession.drivers.cookie.jar import Jar
from django_multisession.drivers.listed import cards
from django_multisession.drivers.listed.carried import CarriedListedDriver
from django_multisession.session.custom_expiry import EXPIRY_ENTRY
from django_multisession.session.site import Site
from django_multisession.session.store import DriverSessionStore
from django_multisession.settings.conf import config, cookie, current

if TYPE_CHECKING:
    from django_multisession.drivers.cookie.driver import CookieDriver

#: The entries that a card shows.
_SHOWN = (USER_AGENT_ENTRY, ADDRESS_ENTRY, EXPIRY_ENTRY)


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
    def driver(self) -> CookieDriver | CarriedListedDriver:
        """The engine's driver over the jar of this request."""
        driver: CookieDriver | CarriedListedDriver = self.sender.get_driver()
        if isinstance(driver, CarriedListedDriver):
            return driver.over(self.jar, self.make_card)
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

    def make_card(self, key: str, record: Record) -> Record:
        """Return the card of *record*, signed for the place where it lies, with what a list shows."""
        entries = self.loads(self.open(record, Verified("", key)))
        shown = SecretEntries((name, entries[name]) for name in _SHOWN if name in entries)
        body, facts = self.dumps(shown), cards.facts_of(record)
        ring, record_keys = config().encryption, config().record_keys
        place = cards.place_of(key)
        # With the secret, which may have been rotated since: a card is signed again then.
        said = b"%b%b" % (next(iter(record_keys)), body)
        revision = cards.revision_of(key, facts, said)
        packed = SecretBytes(payloads.compress(body))
        if ring.writes is not None:
            packed = SecretBytes(payloads.encrypt(body, ring, self._card_context(place)))
        payload = SecretBytes(cards.payload_of(key, packed))
        binding = self.bound[1]
        return signing.sign(facts, payload, place, binding, record_keys, revision=revision)

    def open_listed(self, record: Record, place: str) -> SecretBytes:
        """See Site.open_listed(). It's a card, or what this request's client holds."""
        if self.jar.raw(place) == record.raw:
            return self.open(record, Verified("", place))
        of_card, config_now = cards.place_of(place), config()
        signing.verify(record, of_card, self.bound[1], config_now.record_keys)
        shown = cards.shown_in(record)
        if shown[:1] == payloads.ENCRYPTED:
            return payloads.decrypt(shown, config_now.encryption, self._card_context(of_card))
        return SecretBytes(payloads.decompress(shown))

    def _card_context(self, place: str) -> bytes:
        return encryption.context(b"card", self.bound[1], place.encode())

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
