"""What a memcached's error, or none of its answers, means; a text that isn't known isn't passed on."""

from __future__ import annotations

from pymemcache.exceptions import (
    MemcacheError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
)

from django_multisession.exceptions import OutageKind, StoreUnavailable

#: The server's text → what to do.
_ADVICE = {
    "object too large for cache": "Raise its limit of an item (-I), or lower MULTISESSION_MAX_SIZE.",
    "out of memory storing object": "Give it more memory (-m).",
    "unauthenticated": "Set USERNAME and PASSWORD.",
    "authentication failure": "Correct USERNAME or PASSWORD.",
}


def is_lost(error: BaseException) -> bool:
    """Did the connection end before the answer came? After a timeout the time is spent."""
    is_closed = isinstance(error, OSError | MemcacheUnexpectedCloseError)
    return is_closed and not isinstance(error, TimeoutError)


def failure_of(error: Exception, place: str) -> StoreUnavailable:
    """Return what is told of *error*, which the memcached at *place* gave."""
    kind = _kind_of(error)
    text = _text_of(error)
    what = "refused" if kind is OutageKind.REFUSED else "did not answer"
    told = text if text in _ADVICE else type(error).__name__
    return StoreUnavailable(
        f"memcached at {place} {what} ({told}). {_ADVICE.get(text, '')}".rstrip(), kind
    )


def _kind_of(error: Exception) -> OutageKind:
    if isinstance(error, TimeoutError):
        return OutageKind.TIMED_OUT
    if isinstance(error, OSError | MemcacheUnexpectedCloseError):
        return OutageKind.UNREACHABLE
    # Each knows the commands that are sent here. What is left of "ERROR Too many open connections".
    if isinstance(error, MemcacheUnknownCommandError):
        return OutageKind.OVERLOADED
    return OutageKind.REFUSED


def _text_of(error: Exception) -> str:
    """Return what the server said."""
    said = error.args[0] if isinstance(error, MemcacheError) and error.args else None
    return said.decode("ascii", "replace").strip() if isinstance(said, bytes) else ""
