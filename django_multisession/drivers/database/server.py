"""How a database is reached: Django's connection of an alias, retries, rollbacks.

A command runs on the connection of the thread, and so in the transaction that is open there. An end
or a move that a rollback undoes is sent again once the thread is out of the transaction: a logout
holds, and a client finds its session under the key that the response gave it.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_finished
from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_multisession.drivers.database.errors import ERRORS, is_to_be_sent_again, outage_of
from django_multisession.exceptions import StoreUnavailable

logger = logging.getLogger(__name__)

#: The engine sends a command at most this often where other transactions undo it.
TRIES = 4


class Command(NamedTuple):
    """What runs on a connection.

    Attributes:
        run: Does it.
        is_write: Is it to leave the transaction usable where it fails?
        after_rollback: What is sent where a rollback has undone it; None if nothing.
    """

    run: Callable[[BaseDatabaseWrapper], Any]
    is_write: bool = True
    after_rollback: Callable[[BaseDatabaseWrapper], Any] | None = None


class DatabaseServer:
    """Runs commands on Django's connection of a database.

    Args:
        alias: Of ``DATABASES``; None for the one that the routers choose for writes.
    """

    def __init__(self, alias: str | None) -> None:
        if alias is not None and alias not in connections:
            raise ImproperlyConfigured(
                'MULTISESSION_DATABASE["ALIAS"] must be the name of a database in DATABASES.'
            )
        self._alias = alias
        #: Of each connection: what has to be sent unless its transaction is committed.
        self._uncommitted: weakref.WeakKeyDictionary[BaseDatabaseWrapper, list[Command]] = (
            weakref.WeakKeyDictionary()
        )
        request_finished.connect(self._finish_request)

    @property
    def alias(self) -> str:
        """Return the database of sessions. A replica is never read."""
        from django_multisession.database.models import Session

        return self._alias or router.db_for_write(Session)

    def send(self, command: Command, /) -> Any:
        """See Server.send()."""
        connection = connections[self.alias]
        if self._uncommitted and not connection.in_atomic_block:
            self._send_undone(connection)
        reply = self._send(connection, command)
        if command.after_rollback is not None and connection.in_atomic_block:
            self._note(connection, Command(command.after_rollback))
        return reply

    async def asend(self, command: Command, /) -> Any:
        """See send(). Django's connections are sync: one hop to their thread."""
        return await sync_to_async(self.send, thread_sensitive=True)(command)

    def close(self) -> None:
        """See Server.close(). The connections are Django's."""

    async def aclose(self) -> None:
        """See close()."""

    def _send(self, connection: BaseDatabaseWrapper, command: Command) -> Any:
        is_inside, has_lost = connection.in_atomic_block, False
        for left in reversed(range(TRIES)):
            opened = connection.connection
            try:
                with (
                    transaction.atomic(using=connection.alias)
                    if is_inside and command.is_write
                    else contextlib.nullcontext()
                ):
                    return command.run(connection)
            except ERRORS as error:
                failure = outage_of(error, connection.alias)
                is_undone = is_to_be_sent_again(error)
            is_last = is_inside or not left
            if is_last or not (is_undone or (not has_lost and _is_lost(connection, opened))):
                # Raised here and not where the error was caught: its frames hold the values.
                raise failure
            has_lost = has_lost or not is_undone
        raise AssertionError

    # Rollbacks

    def _note(self, connection: BaseDatabaseWrapper, command: Command) -> None:
        uncommitted = self._uncommitted.setdefault(connection, [])
        uncommitted.append(command)

        def forget() -> None:
            with contextlib.suppress(ValueError):
                uncommitted.remove(command)

        connection.on_commit(forget)

    def _send_undone(self, connection: BaseDatabaseWrapper) -> None:
        """Send what a rollback undid: after a commit there is nothing left."""
        undone = self._uncommitted.get(connection, [])
        while undone:
            self._send(connection, undone[0])
            # Only now: what did not arrive is sent again by the next verb.
            del undone[0]
        self._uncommitted.pop(connection, None)

    def _finish_request(self, **_kwargs: Any) -> None:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                # A test that is one transaction.
                self._uncommitted.pop(connection, None)
                continue
            try:
                self._send_undone(connection)
            except StoreUnavailable as failure:
                logger.warning(
                    "What a rollback undid of a session could not be sent again: %s", failure
                )


def _is_lost(connection: BaseDatabaseWrapper, opened: object) -> bool:
    """Was the connection lost that was *opened* before? Then the next command has another."""
    if opened is None:
        return False
    if connection.connection is opened:
        if connection.is_usable():
            return False
        connection.close()
    # Otherwise atomic() has closed it, and may have opened the other one.
    return True
