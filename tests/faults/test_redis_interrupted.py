"""A worker thread that ends amid a save: the session is whole, and its connection owes nobody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from servers import RedisServer

from django_multisession.drivers.redis import driver as redis
from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from tests.drivers.redis_fixtures import own_redis, within_deadline
from tests.faults.interrupting import Interrupted, Library
from tests.faults.redis_site import opener, stored, use_redis
from tests.proxy import TCPProxy

__all__ = ["own_redis"]

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.once

OURS = Library(
    package=redis.__file__.rpartition("/")[0],
    # The next but one line sends. Between it and the one that waits for the answer none is called.
    sends="pack",
    # Called when the wait was over, and in vain: the server hangs.
    waits="_meaning",
)

BEFORE, AFTER = {"name": "before"}, {"name": "after", "second": "after"}


@pytest.fixture
def proxy(own_redis: RedisServer, settings: Settings) -> Iterator[TCPProxy]:
    """Lead to a Redis of the test's own, over one connection."""
    with TCPProxy(own_redis.host, own_redis.port) as proxy:
        use_redis(proxy, settings, max_connections=1, socket_timeout=1, db=3)
        yield proxy
        close_drivers()


@pytest.fixture
def visits() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as visits:
        yield visits


def _changing(key: str) -> Any:
    session = SessionStore(key)
    session["name"] = session["second"] = "after"
    return session


def test_a_thread_that_ends_before_its_save_is_answered_leaves_the_answer_to_nobody(
    own_redis: RedisServer, proxy: TCPProxy, visits: ThreadPoolExecutor
) -> None:
    open_session = opener(None)
    others = stored(open_session, name="of somebody else")
    for line in itertools.count():
        key = stored(open_session, name="before")
        save = _changing(key).save
        own_redis.pause()
        interrupted = Interrupted(OURS, save, line)
        interrupted.run()
        if interrupted.has_waited:
            own_redis.resume()
            assert line > 2
            return
        proxy.reset()
        # The only connection there is, and what was sent over it is not answered yet.
        visit = visits.submit(open_session(others).entries)
        within_deadline(lambda: proxy.commands or proxy.total_connections)
        own_redis.resume()
        assert visit.result(30) == {"name": "of somebody else"}
        assert open_session(key).entries() in (BEFORE, AFTER)


# A socket that was opened and not yet put down anywhere is left to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_thread_that_ends_anywhere_in_a_save_leaves_the_session_whole_and_others_their_own(
    newest_redis: RedisServer, settings: Settings
) -> None:
    use_redis(newest_redis, settings, max_connections=500, db=3)
    open_session = opener(None)
    others = stored(open_session, name="of somebody else")
    for line in itertools.count():
        key = stored(open_session, name="before")
        # At every other time it has to connect first.
        if line % 2:
            SessionStore.get_driver().close()
        interrupted = Interrupted(OURS, _changing(key).save, line, is_from_the_start=True)
        interrupted.run()
        assert open_session(others).entries() == {"name": "of somebody else"}
        assert open_session(key).entries() in (BEFORE, AFTER)
        if not interrupted.was_interrupted:
            assert line > 30
            break
    close_drivers()
