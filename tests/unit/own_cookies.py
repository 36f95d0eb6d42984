"""An engine of a site that keeps sessions in cookies."""

from __future__ import annotations

import dataclasses

from django_multisession.engines import cookie


class SessionStore(cookie.SessionStore):
    engine = dataclasses.replace(cookie.SessionStore.engine, name="own", setting="OWN_COOKIES")
