"""A site with sessions in MongoDB, under our middleware, for tests and for programs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import update_last_login
from django.contrib.auth.signals import user_logged_in
from django.test import override_settings

from django_multisession.engine import close_drivers
from tests.web import people
from tests.web.conftest import OURS
from tests.wire.visitor import Response, Visitor, session_cookie

DATABASE = "multisession_tests"


@contextmanager
def site(url: str, options: Mapping[str, Any] | None = None, **settings: Any) -> Iterator[str]:
    """Have Django serve `tests.wire.urls` with sessions in a collection of its own; yield its name.

    Args:
        url: Of the server, or of a set.
        options: Of the client; without any it has the driver's limits.
        settings: More of Django's and ours.
    """
    collection = f"sessions_{uuid.uuid4().hex[:12]}"
    where = {"URI": url, "DATABASE": DATABASE, "COLLECTION": collection}
    # Its receiver writes to the database, and these people are in none.
    user_logged_in.disconnect(dispatch_uid="update_last_login")
    close_drivers()
    try:
        with override_settings(
            ROOT_URLCONF="tests.wire.urls",
            MIDDLEWARE=[OURS, "django.contrib.auth.middleware.AuthenticationMiddleware"],
            AUTHENTICATION_BACKENDS=[people.BACKEND],
            SESSION_ENGINE="django_multisession.engines.mongodb",
            MULTISESSION_MONGODB=where | {"OPTIONS": dict(options or {})},
            **settings,
        ):
            yield collection
            close_drivers()
    finally:
        user_logged_in.connect(update_last_login, dispatch_uid="update_last_login")


def refused(response: Response) -> bool:
    """Tell whether it was answered by our 503; that leaves the cookie alone."""
    is_refused: bool = response.status_code == 503
    assert not is_refused or session_cookie(response) is None
    return is_refused


async def only_reads(visitor: Visitor) -> None:
    """See that the pages work that read, and no others."""
    assert (await visitor.get("read")).json() == {"name": "first"}
    for answer in (
        await visitor.copy().get("write", name="second"),
        await visitor.copy().get("logout"),
        await visitor.stranger().get("write", name="new"),
    ):
        assert refused(answer)
    assert (await visitor.get("read")).json() == {"name": "first"}
