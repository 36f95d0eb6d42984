"""100,000 cookies that the site never handed out: none is an error, none opens a session, none costs I/O."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from django_multisession import signals
from django_multisession.core.keys import is_of_another_engine
from django_multisession.session import events
from django_multisession.settings.conf import config
from tests.engine_fixtures import Engine
from tests.proxy import TCPProxy
from tests.wire.conftest import under_none
from tests.wire.forgeries import ALPHABET, RANDOM_LENGTH, forged_keys, signed

FORGERIES = 100_000
SEED = 20260101

pytestmark = [under_none]


class SecurityLog(logging.Handler):
    """Keeps what was logged, so far as nobody has looked at it."""

    def __init__(self) -> None:
        super().__init__()
        self._pool: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._pool.append(self.format(record))

    def take(self) -> list[str]:
        """Return the lines since the last time."""
        lines, self._pool = self._pool, []
        return lines


@pytest.fixture
def security_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecurityLog]:
    logger = logging.getLogger("django.security.SuspiciousSession")
    log = SecurityLog()
    # pytest would keep every line for its report.
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(log)
    # Each forgery is to have its line here.
    refused = signals.invalid_session_key
    told = dataclasses.replace(events.LINES[refused], limit=None)
    monkeypatch.setattr(events, "LINES", {**events.LINES, refused: told})
    yield log
    logger.removeHandler(log)


@pytest.fixture
def valid_keys(engine: Engine) -> list[str]:
    """Keys of sessions that are there to be opened."""
    randomness = random.Random(SEED)
    made = []
    for number in range(50):
        random_part = "".join(randomness.choices(ALPHABET, k=RANDOM_LENGTH))
        session = engine.SessionStore(signed(random_part, config().signing_keys[0]))
        session.update({"secret": number})
        session.save(must_create=True)
        assert session.session_key is not None
        made.append(session.session_key)
    return made


@pytest.mark.long
@pytest.mark.parametrize(
    ("asks_first", "seed"),
    [("load", SEED), pytest.param("is_empty", SEED + 1, marks=pytest.mark.release)],
)
def test_no_forged_key_opens_a_session_or_costs_a_byte(
    *,
    asks_first: str,
    seed: int,
    engine: Engine,
    proxy: TCPProxy,
    valid_keys: list[str],
    security_log: SecurityLog,
) -> None:
    proxy.reset()
    lines: Counter[str] = Counter()
    old = 0
    for forged in forged_keys(valid_keys, FORGERIES // 2, seed):
        session = engine.SessionStore(forged)
        if asks_first == "is_empty":
            assert session.is_empty()
        assert session.load() == {}
        assert session.is_empty()
        assert session.session_key is None
        logged = security_log.take()
        # An old cookie of another engine is no attack.
        is_old = is_of_another_engine(forged)
        assert len(logged) == (0 if is_old else 1)
        old += is_old
        lines.update(logged)
    assert proxy.bytes_to_server == 0
    # One line for all of them: it can hold none of their values.
    assert lines == {"A session key that this site did not sign was refused.": FORGERIES // 2 - old}
    assert 0 < old < FORGERIES // 20


def test_no_forged_key_opens_a_session_or_costs_a_byte_async(
    engine: Engine, proxy: TCPProxy, valid_keys: list[str], security_log: SecurityLog
) -> None:
    forgeries = list(forged_keys(valid_keys, FORGERIES // 10, SEED + 2))

    async def load_all() -> None:
        for forged in forgeries:
            session = engine.SessionStore(forged)
            assert await session.aload() == {}
            assert session.is_empty()
            assert session.session_key is None

    proxy.reset()
    asyncio.run(load_all())
    assert proxy.bytes_to_server == 0
    old = sum(map(is_of_another_engine, forgeries))
    assert len(security_log.take()) == FORGERIES // 10 - old


def test_the_sessions_that_were_forged_at_open_with_their_own_keys(
    engine: Engine, proxy: TCPProxy, valid_keys: list[str]
) -> None:
    proxy.reset()
    opened = [engine.SessionStore(key).load() for key in valid_keys]
    assert opened == [{"secret": number} for number in range(len(valid_keys))]
    assert proxy.bytes_to_server > 0
