"""A browser that has every cookie as soon as it is made: sessions of all requests in one jar.

Behind it the laws of engines hold that keep their records in a server. A real browser learns of a cookie
with the response.
"""

from __future__ import annotations

from typing import Any

from django_multisession.drivers.cookie.driver import CookieDriver
from django_multisession.drivers.cookie.jar import Jar
from django_multisession.engines import cookie
from django_multisession.session.carried import CarriedSite, seconds


class OneJarSite(CarriedSite):
    __slots__ = ()

    @property
    def driver(self) -> Any:
        # The laws put their own in front of it.
        return self.sender.get_driver()


def store_of_one_browser() -> type[cookie.SessionStore]:
    jar, texts = Jar(seconds), dict[str, tuple[bytes, str]]()

    class SessionStore(cookie.SessionStore):
        @classmethod
        def get_driver(cls) -> CookieDriver:
            driver = super().get_driver()
            assert isinstance(driver, CookieDriver)
            return driver.over(jar)

        def _site(self) -> CarriedSite:
            site = OneJarSite(type(self), self.hooks, self.serializer)
            site.belong_to(self)
            site.jar, site.texts = jar, texts
            return site

    return SessionStore
