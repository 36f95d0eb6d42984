"""A worker thread that ends amid a save to MongoDB: the session is whole, and others go on."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymongo
import pytest
from servers import MongoServer

from django_multisession.engines.mongodb import SessionStore
from django_multisession.exceptions import StoreUnavailable
from tests.faults.interrupting import Interrupted, Library
from tests.faults.mongodb_site import site

pytestmark = pytest.mark.once

PYMONGO = Library(
    package=pymongo.__file__.rpartition("/")[0], sends="sendall", waits="receive_data"
)

#: For a busy machine.
PATIENT = {"timeoutMS": 30000}
#: PyMongo (4.20) counts who uses its pool, and who connects. A thread that ends at one of some
#: thirty lines of taking a connection or giving it back leaves the first count too high by one for
#: ever; at one line before it connects, the second, of which two (`maxConnecting`) are enough for
#: that nobody connects any more. Here is room for all of them.
ROOMY = PATIENT | {"maxPoolSize": 500, "maxConnecting": 500}
#: A connection is too old for a second command, so that each has to connect first.
COLD = ROOMY | {"maxIdleTimeMS": 0.001}


@pytest.fixture
def visits() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as visits:
        yield visits


def _stored(value: Any) -> str:
    session = _changed(None, value)
    session.save()
    assert session.session_key is not None
    return session.session_key


def _changed(key: str | None, value: Any) -> SessionStore:
    session = SessionStore(key)
    session["name"] = session["second"] = value
    return session


def _found(key: str) -> dict[str, Any]:
    return dict(SessionStore(key).items())


def _entries(value: Any) -> dict[str, Any]:
    return {"name": value, "second": value}


def _was_refused(key: str, value: Any) -> bool:
    """Save; again, if PyMongo had put this connection into its pool twice."""
    try:
        _changed(key, value).save()
    except StoreUnavailable:
        _changed(key, value).save()
        return True
    return False


def test_a_thread_that_ends_before_its_save_is_answered_leaves_the_answer_to_nobody(
    mongodb_standalone: MongoServer,
) -> None:
    # What is left unread in a stream comes before the answer to whatever is sent over it next: no
    # server has to be paused for that.
    with site(mongodb_standalone.url, PATIENT | {"maxPoolSize": 1}):
        others = _stored("of somebody else")
        for line in itertools.count():
            key = _stored("before")
            interrupted = Interrupted(PYMONGO, _changed(key, "after").save, line)
            interrupted.run()
            # Its place in the pool is free.
            assert _found(others) == _entries("of somebody else")
            assert _found(key) in (_entries("before"), _entries("after"))
            if interrupted.has_waited:
                # From here on PyMongo closes the connection.
                assert line > 5
                return


def test_a_thread_that_ends_before_its_load_is_answered_leaves_the_answer_to_nobody(
    mongodb_standalone: MongoServer,
) -> None:
    with site(mongodb_standalone.url, PATIENT | {"maxPoolSize": 1}):
        others, key = _stored("of somebody else"), _stored("mine")
        refused = 0
        for line in itertools.count():
            interrupted = Interrupted(PYMONGO, SessionStore(key).load, line)
            interrupted.run()
            # PyMongo (4.20) takes back a connection with the answer in it where a read ends at the
            # two lines before it waits. By its number the answer is seen to be another's.
            try:
                found = _found(others)
            except StoreUnavailable:
                refused += 1
                found = _found(others)
            assert found == _entries("of somebody else")
            assert refused <= 2
            if interrupted.has_waited:
                assert line > 2
                return


# The socket of a connect that was interrupted is left to the garbage collector, and what PyMongo
# had not made up misses its attributes when it is collected.
@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning",
    "ignore:Exception ignored in. <function _TransactionBase.__del__"
    ":pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize(
    ("options", "stride"),
    # Connecting is the slow part, and has 1,400 lines: every seventh.
    [pytest.param(ROOMY, 1, id="warm"), pytest.param(COLD, 7, id="cold")],
)
def test_a_thread_that_ends_anywhere_in_a_save_leaves_the_session_whole_and_others_their_own(
    options: Mapping[str, Any],
    stride: int,
    mongodb_standalone: MongoServer,
    visits: ThreadPoolExecutor,
) -> None:
    # Not among these lines: `threading.Condition.__exit__`, which is no code of PyMongo's. An end
    # as it is called leaves the lock of the pool held, and every thread of the process that comes
    # to MongoDB then waits for ever, without a time limit.
    with site(mongodb_standalone.url, options):
        others = _stored("of somebody else")
        mine, theirs, before = _stored(-1), _stored(-1), -1
        refused = 0
        for line in itertools.count(0, stride):
            interrupted = Interrupted(
                PYMONGO, _changed(mine, line).save, line, is_from_the_start=True
            )
            visit = visits.submit(_was_refused, theirs, line)
            interrupted.run()
            refused += visit.result(60)
            assert _found(theirs) == _entries(line)
            assert _found(others) == _entries("of somebody else")
            found = _found(mine)
            assert found in (_entries(before), _entries(line))
            before = found["name"]
            if not interrupted.was_interrupted:
                break
        assert line > 500
        # An end just after a connection was given back, which is at three lines, has PyMongo (4.20)
        # give it back once more. Two threads may then use it at once, and PyMongo sees by the
        # number of an answer that it is another's: both may be refused, and the connection is gone.
        assert refused <= 3
    # Here, and not in a later test.
    gc.collect()
