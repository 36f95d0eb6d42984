"""What the tests of a Redis that commands are sent to share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_multisession.drivers.redis.server import RedisServer
from django_multisession.exceptions import StoreUnavailable
from tests.unit.frames import mail, shown

Open = Callable[..., RedisServer]

PRECIOUS = "-".join(["4111"] * 4)


@pytest.fixture
def open_server() -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def opened(server: Any, **options: Any) -> RedisServer:
            made = RedisServer({"URL": server.url, **options})
            stack.callback(made.close)
            return made

        yield opened


def outage(server: RedisServer, *command: bytes | int | str) -> StoreUnavailable:
    """Return the outage that *command* meets, having seen that nothing shows the command."""
    with pytest.raises(StoreUnavailable) as caught:
        server.send((*command, PRECIOUS))
    error = caught.value
    assert PRECIOUS not in shown(error) + mail(error)
    assert error.__context__ is None
    return error
