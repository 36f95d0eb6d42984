"""What is said on a connection to Redis, and what its answers mean: RESP2, without any I/O.

The sync end (a socket) and the async end (a transport) share it: how a connection begins, how a
command is written, how replies are parsed, and what kind of outage an error is.
"""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from django_multisession.exceptions import OutageKind, StoreUnavailable

try:
    import hiredis
except ImportError as error:
    raise ImproperlyConfigured("Install django-multisession[redis] to use this engine.") from error

#: A command and its arguments.
Command = Sequence[bytes | int | str]

#: What a reader returns while the bytes that it was fed hold no whole reply.
NO_REPLY: Final = object()

#: Stands for a record under whose key another type lies: another application's, or a vandal's.
NO_RECORD: Final = b""


class Refused(Exception):  # noqa: N818  (Redis calls it an error; to the driver it is an answer)
    """An error that Redis replied with.

    Attributes:
        code: Its first word: ``NOPERM``, ``OOM``, ``NOSCRIPT``.
        text: All of it. It may quote a command's arguments, so it is for no message.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.code = text.partition(" ")[0]


class NotReady(StoreUnavailable):
    """The server answers that it can't serve yet."""


class ProtocolError(ConnectionError):
    """The other side speaks something else than Redis."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and what a connection to it begins with.

    Attributes:
        host: Name or address; unused with a *path*. With port 0 it is the name of a service, and
            Sentinels haven't yet reported where that is.
        port: TCP port.
        path: Of a Unix socket, instead of host and port.
        database: Number that ``SELECT`` is given; 0 needs none.
        credentials: Returns the arguments of ``AUTH``: none, the password, or user and password.
            Called for each connection, because tokens of clouds run out.
        client_name: What ``CLIENT SETNAME`` is given, or None.
        timeout: Seconds that a command may take, from the moment that it is asked for.
        connect_timeout: Seconds that connecting may take, TLS and login included.
        keepalive: Options of ``SO_KEEPALIVE`` to set, or None to leave it off.
        tls: Makes the context of a TLS connection; None for none.
        server_hostname: Whose name its certificate must have; None for *host*.
    """

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    database: int = 0
    credentials: Callable[[], tuple[str, ...]] | None = dataclasses.field(default=None, repr=False)
    client_name: str | None = None
    timeout: float = 2.0
    connect_timeout: float = 2.0
    keepalive: Mapping[int, int] | None = None
    tls: Callable[[], ssl.SSLContext] | None = dataclasses.field(default=None, repr=False)
    server_hostname: str | None = None

    def __str__(self) -> str:
        """Return where it is, without a secret: what messages may say."""
        if not (self.path or self.port):
            return f"the primary of {self.host!r}"
        return self.path or f"{self.host}:{self.port}/{self.database}"


def beginning(address: Address) -> Generator[Command, Any, None]:
    """Yield each command that a connection to *address* begins with, and be sent its reply.

    Raises:
        Refused: Sent in as a reply: the server takes no such login, database or name.
    """
    commands: list[Command] = []
    if address.credentials is not None and (arguments := address.credentials()):
        commands.append(("AUTH", *arguments))
    if address.database:
        commands.append(("SELECT", address.database))
    if address.client_name:
        commands.append(("CLIENT", "SETNAME", address.client_name))
    while commands:
        reply = yield commands.pop(0)
        if isinstance(reply, Refused):
            raise reply


def make_reader() -> Any:
    """Return a parser of replies.

    ``gets()`` returns `NO_REPLY` where more bytes are needed, a `Refused` as a value, and raises
    `ProtocolError` at what is no RESP.
    """
    return hiredis.Reader(protocolError=ProtocolError, replyError=Refused, notEnoughData=NO_REPLY)


def pack(command: Command) -> bytes:
    """Return *command* as it is sent."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub wants one type of item
    return packed


#: Refusals that mean "not now": the server starts, fails over, or is a replica that lost its master.
_NOT_READY = frozenset({"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"})
#: Refusals of a server that is the master no longer, or that its replicas have left.
_NO_MASTER = frozenset({"READONLY", "NOREPLICAS", "MASTERDOWN"})
#: Redis 6.2 quotes the error of a command in a script in the middle of the script's own.
_QUOTED = ("READONLY", "NOREPLICAS", "MASTERDOWN", "OOM", "NOPERM", "MISCONF", "WRONGTYPE")

#: A script whose user lacks a right for a command gets no code: since Redis 7, and before.
_NO_RIGHT_IN_SCRIPT = ("ACL failure in script", "executing the script can't run")


def code_of(refused: Refused) -> str:
    """Return the code of *refused*: of the command at fault where a script ran it."""
    if refused.code in _QUOTED:
        return refused.code
    if any(phrase in refused.text for phrase in _NO_RIGHT_IN_SCRIPT):
        return "NOPERM"
    return next((code for code in _QUOTED if code in refused.text), refused.code)


def is_no_master(refused: Refused) -> bool:
    """Does *refused* say that its server is the master no longer, or may not be?"""
    return code_of(refused) in _NO_MASTER


#: What to do about a refusal, by its code.
_ADVICE = {
    "NOAUTH": "Set USERNAME and PASSWORD.",
    "WRONGPASS": "Correct USERNAME or PASSWORD.",
    "NOPERM": "Give its user the rights that the documentation lists.",
    "OOM": "Its memory is full: raise maxmemory, or remove other data.",
    "MISCONF": "It can't persist its data: look at its log and its disk.",
    "READONLY": "It is a replica: name the primary, or its Sentinels.",
    "NOREPLICAS": "Fewer replicas are connected than min-replicas-to-write asks for.",
    "LOADING": "It is loading its data: wait.",
    "MASTERDOWN": "It is a replica that has lost its primary.",
}
#: How Redis names the command that a user may not run. It quotes no argument.
_REFUSED_COMMAND = re.compile(r"the '([a-z|_-]+)' (?:sub)?command")


class Attempt:
    """One command on its way: what an error of it leads to, the same for threads and coroutines.

    It is sent again by its text where the server doesn't know its script, and once where its
    connection was lost or the master is another one by now. After a timeout nothing is sent again.

    Args:
        command: What is to be sent.
        can_move: May there be another master?
        texts: Digest → text of each script.

    Attributes:
        command: What is to be sent next.
    """

    #: What `after` returns where `command` is to be sent again.
    AGAIN: Final = object()

    __slots__ = ("_can_move", "_may_retry", "_texts", "command")

    def __init__(self, command: Command, texts: Mapping[str, str], *, can_move: bool) -> None:
        self.command = command
        self._texts = texts
        self._can_move = can_move
        self._may_retry = True

    def after(self, failure: Refused | OSError | StoreUnavailable, address: Address) -> Any:
        """Return `AGAIN`, or what *failure* comes to: a reply, or the outage to raise."""
        if isinstance(failure, Refused):
            code = code_of(failure)
            if code == "NOSCRIPT" and self._spell_out():
                return self.AGAIN
            if code == "WRONGTYPE":
                return NO_RECORD
        if self._may_retry and self._is_lost(failure):
            self._may_retry = False
            return self.AGAIN
        if isinstance(failure, StoreUnavailable):
            return failure
        return outage_of(failure, address)

    def _spell_out(self) -> bool:
        name, digest, *arguments = self.command[0], str(self.command[1]), *self.command[2:]
        if name != "EVALSHA" or digest not in self._texts:
            return False
        self.command = ("EVAL", self._texts[digest], *arguments)
        return True

    def _is_lost(self, failure: Refused | OSError | StoreUnavailable) -> bool:
        if isinstance(failure, Refused):
            return self._can_move and is_no_master(failure)
        # Where no connection could be opened, another attempt would find none either.
        return isinstance(failure, ConnectionError) and not isinstance(
            failure, ConnectionRefusedError
        )


def outage_of(error: Refused | OSError, address: Address) -> StoreUnavailable:
    """Return what *error* of the server at *address* is to the caller; it quotes no argument."""
    if isinstance(error, Refused):
        code = code_of(error)
        if "max number of clients" in error.text:
            return StoreUnavailable(
                f"Redis at {address} has no connection left (maxclients). "
                "Raise maxclients, or lower max_connections.",
                OutageKind.OVERLOADED,
            )
        advice = _ADVICE.get(code, "")
        if code in _NOT_READY:
            return NotReady(f"Redis at {address} is not ready ({code}). {advice}".rstrip())
        found = _REFUSED_COMMAND.search(error.text) if code == "NOPERM" else None
        what = f" '{found[1]}'" if found else ""
        return StoreUnavailable(
            f"Redis at {address} refused{what} ({code}). {advice}".rstrip(), OutageKind.REFUSED
        )
    if isinstance(error, TimeoutError):
        return StoreUnavailable(
            f"Redis at {address} did not answer within {address.timeout:g} s.", OutageKind.TIMED_OUT
        )
    return StoreUnavailable(f"Redis at {address} did not answer ({type(error).__name__}).")


def overloaded(address: Address, waited: float) -> StoreUnavailable:
    """Return the outage of a command that found no place on a connection within *waited* seconds."""
    return StoreUnavailable(
        f"No connection to Redis at {address} became free within {waited:g} s.",
        OutageKind.OVERLOADED,
    )
