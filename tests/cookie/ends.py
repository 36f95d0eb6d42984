"""An engine that keeps ends in Redis and loses an answer, or the way there, when a test asks for it."""

from __future__ import annotations

from typing import Any

from django_multisession.core.secret import SecretOptions
from django_multisession.drivers.base import Ask, Driver, Steps
from django_multisession.engine import Engine
from django_multisession.engines import redis
from django_multisession.exceptions import StoreUnavailable
from django_multisession.store import DriverSessionStore

CARRIED_OUT, NOT_SENT = "carried out", "not sent"


class LossyDriver:
    """The driver of the Redis engine, whose next call of *verb* raises: after it, or in its place."""

    def __init__(self) -> None:
        self.losses: dict[str, tuple[str, BaseException]] = {}

    def lose(self, verb: str, how: str, error: BaseException | None = None) -> None:
        self.losses[verb] = (how, error or StoreUnavailable("lost"))

    def close(self) -> None:
        """Leave Redis's driver to its engine."""

    def __getattr__(self, name: str) -> Any:
        verb = getattr(redis.SessionStore.get_driver(), name)
        if name not in self.losses:
            return verb
        how, error = self.losses.pop(name)

        def lossy(*arguments: Any) -> Steps[Any]:
            if how == CARRIED_OUT:
                yield from verb(*arguments)
            # A verb is a generator in any case.
            yield Ask(Raises(error), name, None)

        return lossy


class Raises:
    """A server that is gone."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def send(self, _command: object) -> None:
        raise self.error

    async def asend(self, _command: object) -> None:
        raise self.error

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


driver = LossyDriver()


def _open(_options: SecretOptions) -> Driver:
    return driver  # it has every verb of one


class SessionStore(DriverSessionStore):
    engine = Engine(name="lossy", open=_open)
