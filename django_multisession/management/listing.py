"""The sessions of the engine that the site left, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from django.utils import timezone

from django_multisession.core.records import to_milliseconds
from django_multisession.drivers.base import Enumerable, run
from django_multisession.session.adopt import is_mark
from django_multisession.session.custom_expiry import aware
from django_multisession.session.site import Site
from django_multisession.sources import OwnSource, Source


class Listing(Protocol):
    """What lists the sessions of an engine."""

    def live(self, size: int) -> Iterator[tuple[str, int]]:
        """Yield key and end of each live session. Sessions may come and go on the way.

        Args:
            size: How many one query brings.
        """

    def count(self, size: int) -> int:
        """Return how many sessions are live now."""


class Rows(NamedTuple):
    """Sessions in the table of *model*, as Django's ``db`` has them."""

    model: Any

    def live(self, size: int) -> Iterator[tuple[str, int]]:
        """See Listing.live()."""
        last = ""
        while True:
            rows = self._live().filter(session_key__gt=last).order_by("session_key")
            batch = list(rows.values_list("session_key", "expire_date")[:size])
            for session_key, expires in batch:
                yield session_key, to_milliseconds(aware(expires))
            if len(batch) < size:
                return
            last = batch[-1][0]

    def count(self, _size: int) -> int:
        """See Listing.count()."""
        found: int = self._live().count()
        return found

    def _live(self) -> Any:
        return self.model.objects.filter(expire_date__gt=timezone.now())


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
                if record.ends_ms > now and not is_mark(self.site, key, record):
                    yield key, record.ends_ms
            if not cursor:
                return

    def count(self, size: int) -> int:
        """See Listing.count(). It reads them all."""
        return len({key for key, _ in self.live(size)})


def listing_of(source: Source, site: Site) -> Listing | None:
    """Return what lists the sessions of *source*; None if nothing does."""
    if isinstance(source, OwnSource):
        driver = source.store.get_driver()
        return Records(driver, site) if isinstance(driver, Enumerable) else None
    return None if source.model is None else Rows(source.model)
