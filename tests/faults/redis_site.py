"""A Redis of the test's own as the site's, and sessions in it, sync or async."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from servers import RedisServer

from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from django_multisession.testing.verbs import Run, SessionVerbs

if TYPE_CHECKING:
    from pytest_django import Settings

PATH = "django_multisession.engines.redis"

Open = Callable[..., SessionVerbs]


def use_redis(
    server: Any, settings: Settings, *, key_prefix: str = "multisession:", **options: Any
) -> None:
    """Point the settings at *server*: a Redis, or a proxy in front of one."""
    close_drivers()
    settings.SESSION_ENGINE = PATH
    settings.MULTISESSION_REDIS = {
        "URL": f"redis://{server.host}:{server.port}/0",
        "KEY_PREFIX": key_prefix,
        "OPTIONS": options,
    }


def opener(run: Run | None) -> Open:
    """Return what opens a session by its key, as a request does by its cookie."""
    return lambda key=None: SessionVerbs(SessionStore(key), run)


def stored(open_session: Open, **entries: Any) -> str:
    """Return the key of a session that a first request stored with *entries*."""
    session = open_session()
    session.update(entries)
    session.save()
    assert session.key is not None
    return session.key


class LoadingRedis(RedisServer):
    """A Redis that is ready as soon as it listens, with its data not there yet."""

    _ready = "Server initialized"
