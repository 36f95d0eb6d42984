"""A Redis behind Sentinels whose primary dies or is parted from the others, under a site's sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from django_multisession.engine import close_drivers
from django_multisession.engines.redis import SessionStore
from django_multisession.exceptions import SessionEnded, StoreUnavailable
from django_multisession.testing.verbs import Run
from tests.faults.redis_site import PATH, Open, opener, stored
from tests.faults.sentinel_load import DEADLINE_SECONDS, POLL_SECONDS, Load
from tests.faults.sentinel_servers import RedisWithSentinels

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

pytestmark = pytest.mark.once

#: A primary that has lost its replicas takes no more writes.
CAREFUL = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")

Start = Callable[..., RedisWithSentinels]


@pytest.fixture
def open_session(run: Run | None) -> Open:
    return opener(run)


@pytest.fixture
def start(running_servers: Running, settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """Start such a Redis, as the site's by an alias of django-redis."""
    started: list[RedisWithSentinels] = []

    def start(*options: str, version: str = "8.2", replicas: int = 1) -> RedisWithSentinels:
        binary = running_servers.redis(f"redis-{version}").binary
        servers = RedisWithSentinels(binary, tmp_path, *options, replicas=replicas)
        started.append(servers.start())
        settings.SESSION_ENGINE = PATH
        settings.CACHES = servers.caches()
        settings.MULTISESSION_REDIS = {"CACHE_ALIAS": "sessions"}
        return servers

    yield start
    close_drivers()
    for servers in started:
        servers.stop()


def _within_deadline(do: Callable[[], Any]) -> Any:
    """Do it again until it is no outage any more."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return do()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(POLL_SECONDS)


@pytest.mark.long
def test_when_the_primary_is_killed_nothing_is_lost_or_revived_that_was_replicated(
    start: Start, mode: str
) -> None:
    servers = start()
    SessionStore.get_driver()
    with Load(SessionStore, mode) as load:
        load.wait_for_acknowledgements(50)
        before = time.monotonic()
        servers.wait_until_replicated()
        servers.first.kill()
        # Served again, without a restart of anything.
        load.wait_for_acknowledgements(50)
    judgement = load.judge()
    assert judgement.saves
    assert judgement.logouts
    assert [at for at in judgement.lost_at if at < before] == []
    assert [at for at in judgement.undone_at if at < before] == []


@pytest.mark.parametrize("mode", ["sync"], indirect=True)
def test_a_fail_over_undoes_what_was_acknowledged_and_not_replicated(
    start: Start, open_session: Open
) -> None:
    servers = start()
    changed, ended, ended_before = (stored(open_session, name="before") for _ in range(3))
    open_session(ended_before).flush()
    servers.wait_until_replicated()
    with servers.cut_replication():
        session = open_session(changed)
        session["name"] = "after"
        session.save()
        open_session(ended).flush()
        begun = stored(open_session, name="new")
        open_at_the_kill = open_session(begun)
        open_at_the_kill["name"] = "newer"
        servers.first.kill()
    servers.wait_until_another_is_primary()

    def names() -> list[str | None]:
        return [open_session(key).get("name") for key in (changed, ended, ended_before, begun)]

    # A change is undone, a logout is undone, and what began is unknown. No half of anything.
    assert _within_deadline(names) == ["before", "before", None, None]
    with pytest.raises(SessionEnded):
        open_at_the_kill.save()


@pytest.mark.long
def test_a_primary_without_replicas_refuses_where_it_is_told_to_and_loses_nothing(
    start: Start, open_session: Open
) -> None:
    servers = start(*CAREFUL, replicas=2)
    key = stored(open_session, name="before")
    other = stored(open_session, name="other")
    servers.wait_until_replicated()
    with servers.cut_replication():
        session = open_session(key)
        session["name"] = "after"
        with pytest.raises(StoreUnavailable):
            session.save()
        with pytest.raises(StoreUnavailable):
            open_session(other).flush()
        # It still tells what it has.
        assert open_session(key).get("name") == "before"
        servers.first.kill()
    servers.wait_until_another_is_primary()
    assert _within_deadline(lambda: open_session(key).get("name")) == "before"
    assert _within_deadline(lambda: open_session(other).get("name")) == "other"
    _within_deadline(session.save)
    assert open_session(key).get("name") == "after"


@pytest.mark.long
@pytest.mark.parametrize(
    ("version", "mode"), [("6.2", "async"), ("8.2", "sync")], indirect=["mode"]
)
def test_a_primary_that_was_parted_from_the_others_is_left_for_the_new_one(
    start: Start, open_session: Open, version: str
) -> None:
    servers = start(*CAREFUL, replicas=2, version=version)
    key = stored(open_session, name="before")
    servers.wait_until_replicated()

    def change() -> None:
        session = open_session(key)
        session["name"] = "after"
        session.save()

    with servers.part_the_first():
        with pytest.raises(StoreUnavailable):
            change()
        servers.wait_until_another_is_primary()
        # The old one still answers, over the connections that the site has.
        _within_deadline(change)
        assert open_session(key).get("name") == "after"


@pytest.mark.long
def test_while_the_primary_hangs_another_takes_over_and_what_it_says_late_counts_no_more(
    start: Start, open_session: Open, settings: Settings
) -> None:
    servers = start()
    settings.MULTISESSION_REDIS = {"CACHE_ALIAS": "sessions", "OPTIONS": {"socket_timeout": 0.5}}
    key = stored(open_session, name="before")
    servers.wait_until_replicated()
    late = open_session(key)
    late["name"] = "late"
    servers.first.pause()
    with pytest.raises(StoreUnavailable, match="did not answer within"):
        late.save()
    servers.wait_until_another_is_primary()
    assert _within_deadline(lambda: open_session(key).get("name")) == "before"
    # It now does what it was asked for before it hung.
    servers.first.resume()
    assert open_session(key).get("name") == "before"
