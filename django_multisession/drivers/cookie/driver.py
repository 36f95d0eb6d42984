"""Sessions in cookies: each client keeps its records, and a request knows those that came with it.

What came with a request, and what its response takes along, is its *jar*: a server of records for as
long as the request lasts. Of two requests at the same time each has a jar of its own, so neither finds
what the other one saves. `revocable` shares the ends of sessions between them.
"""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured

from django_multisession.core import encryption
from django_multisession.core.problems import Problem
from django_multisession.drivers.base import Capabilities
from django_multisession.drivers.cookie.jar import Jar
from django_multisession.drivers.cookie.revocations import NO_REVOCATION
from django_multisession.drivers.memory import SlotsDriver

try:
    encryption.require_library()
except ImportError as error:
    raise ImproperlyConfigured("Install django-multisession[cookie] to use this engine.") from error


class CookieDriver(SlotsDriver):
    """Stores records, and their ends, in the jar of one request.

    Args:
        clock: Seconds since 1970.
        jar: What is stored in; an empty one by default.
    """

    #: Of what a client holds, and not of the jar: two requests' saves don't meet.
    capabilities = Capabilities(
        survives_restart=True,
        saves_conditionally=False,
        moves_atomically=False,
        is_native_async=True,
    )
    server: Jar

    def __init__(self, clock: Callable[[], float], jar: Jar | None = None) -> None:
        self.server = Jar(clock) if jar is None else jar
        self._clock = clock

    def over(self, jar: Jar) -> CookieDriver:
        """Return this driver over *jar*."""
        return CookieDriver(self._clock, jar)

    def check(self) -> list[Problem]:
        """See Driver.check()."""
        return [NO_REVOCATION]
