"""The search drives the async verbs; the sync ones send the same calls for the same answers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

import pytest

from django_multisession.drivers.memory import Command
from django_multisession.exceptions import StoreUnavailable
from tests.exhaustive import site
from tests.exhaustive.bounds import tasks
from tests.exhaustive.verbs import CORE, MARK, START_ENTRIES, USER, VERBS, Actor, respond

IRREGULAR_TWINS = {"aset": "__setitem__"}


class Recorder:
    """A server that notes its calls, sync and async; the answer to call number *until* is lost."""

    def __init__(self) -> None:
        self._server = site.Server()
        self.until: int | None = None
        self.calls: list[Command] = []

    def send(self, command: Command, /) -> Any:
        self.calls.append(command)
        answer = self._server.send(command)
        if len(self.calls) == self.until:
            raise StoreUnavailable("No answer.")
        return answer

    async def asend(self, command: Command, /) -> Any:
        return self.send(command)


class SyncStore:
    """A store object whose async verbs are its sync ones."""

    def __init__(self, store: site.SessionStore) -> None:
        object.__setattr__(self, "_store", store)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._store, name, value)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not inspect.iscoroutinefunction(found):
            return found
        sync = getattr(self._store, IRREGULAR_TWINS.get(name, name[1:]))

        async def verb(*arguments: Any) -> Any:
            return sync(*arguments)

        return verb


def run(steps: Awaitable[Any]) -> Any:
    """Return what *steps*, which wait for nothing, return, or the name of what they raise."""
    try:
        next(steps.__await__())
    except StopIteration as stop:
        return stop.value
    except Exception as error:  # noqa: BLE001  (compared)
        return type(error).__name__
    raise AssertionError("It waits.")


def history(
    program: tuple[str, ...], until: int | None, monkeypatch: pytest.MonkeyPatch, *, is_sync: bool
) -> tuple[Any, ...]:
    """Return the calls, the results and the response of a request."""
    recorder = Recorder()
    monkeypatch.setattr(site.SessionStore, "driver", site.SuspendingDriver(recorder))
    site.let_run("S", 0, 0.0)
    first = site.SessionStore()
    first.update(START_ENTRIES | {USER: "1", MARK: "0"})
    first.save()
    recorder.calls.clear()
    recorder.until = until
    # A touch is due.
    site.let_run("A", 0, site.MINUTE)
    actor = Actor("A", (str(first.session_key),))
    if is_sync:
        actor.store = SyncStore(actor.store)  # type: ignore[assignment]  # it stands in for one
    results = [run(VERBS[verb](actor)) for verb in program]
    return recorder.calls, results, run(respond(actor))


@pytest.mark.parametrize("until", [None, 1, 2])
def test_both_runners_send_the_same_calls(
    until: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site.controlled():
        for program in tasks(2, CORE):
            of_async = history(program, until, monkeypatch, is_sync=False)
            assert history(program, until, monkeypatch, is_sync=True) == of_async, program
