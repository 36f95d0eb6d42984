"""The sessions of the engine that the site left, one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from django.db import Error, router
from django.utils import timezone

from django_multisession.core.records import to_milliseconds
from django_multisession.core.secret import SecretText
from django_multisession.drivers.base import Enumerable, run
from django_multisession.drivers.listed.cards import listed_in
from django_multisession.drivers.listed.driver import ListedDriver
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session.adopt import is_mark
from django_multisession.session.custom_expiry import aware
from django_multisession.session.site import Site
from django_multisession.sources import OwnSource, Source

Result = TypeVar("Result")


class Listing(Protocol):
    """What lists the sessions of an engine."""

    def live(self, size: int) -> Iterator[tuple[str, int]]:
        """Yield key and end of each live session. Sessions may come and go on the way.

        Args:
            size: How many one query brings.

        Raises:
            StoreUnavailable: The server did not answer.
        """

    def count(self, size: int) -> int:
        """Return how many sessions are live now.

        Raises:
            StoreUnavailable: The server did not answer.
        """


class Rows(NamedTuple):
    """Sessions in the table of *model*, as Django's ``db`` has them."""

    model: Any

    def live(self, size: int) -> Iterator[tuple[str, int]]:
        """See Listing.live()."""
        last = SecretText()
        while True:
            batch = self._asked(functools.partial(_page, last, size))
            yield from batch
            if len(batch) < size:
                return
            last = batch[-1][0]

    def count(self, _size: int) -> int:
        """See Listing.count()."""
        return self._asked(lambda rows: int(rows.count()))

    def _asked(self, ask: Callable[[Any], Result]) -> Result:
        """Return what *ask* finds in the live rows."""
        try:
            return ask(self.model.objects.filter(expire_date__gt=timezone.now()))
        except Error as error:
            # No text of the error: it may hold the address of a server, with a password.
            kind = type(error).__name__
        # Not in the handler: the frames of a query hold session keys.
        alias, label = router.db_for_read(self.model), self.model._meta.label  # noqa: SLF001  (public, by its documentation)
        raise StoreUnavailable(f"The database {alias!r} can't read {label}: {kind}.")


def _page(after: SecretText, size: int, rows: Any) -> list[tuple[SecretText, int]]:
    found = rows.filter(session_key__gt=str(after)).order_by("session_key")
    return [
        (SecretText(session_key), to_milliseconds(aware(expires)))
        for session_key, expires in found.values_list("session_key", "expire_date")[:size]
    ]


class Records(NamedTuple):
    """Sessions in an engine of this package, listed by its *driver*.

    Attributes:
        driver: Of the engine.
        site: Opens what may be a mark.
    """

    driver: Enumerable
    site: Site

    def live(self, size: int) -> Iterator[tuple[str, int]]:
        """See Listing.live(). A server may bring one twice."""
        cursor = ""
        while True:
            records, cursor = run(self.driver.records(cursor, size))
            now = to_milliseconds(timezone.now())
            for key, record in records:
                if record.ends_ms > now and not (
                    is_mark(self.site, key, record) or listed_in(key, record)
                ):
                    yield key, record.ends_ms
            if not cursor:
                return

    def count(self, size: int) -> int:
        """See Listing.count(). It reads them all."""
        return len({key for key, _ in self.live(size)})


def listing_of(source: Source, site: Site) -> Listing | None:
    """Return what lists the sessions of *source*; None if nothing does."""
    if source.is_carried:
        return None
    if isinstance(source, OwnSource):
        driver = source.store.get_driver()
        # A session without a user has no card.
        is_listed = isinstance(driver, Enumerable) and not isinstance(driver, ListedDriver)
        return Records(driver, site) if is_listed else None
    return None if source.model is None else Rows(source.model)
