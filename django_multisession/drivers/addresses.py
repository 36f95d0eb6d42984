"""What is told of a server's address that is wrong: it may hold a password."""

from __future__ import annotations


def told_of(address: object) -> str:
    """Return what a message may say of *address*: what it is, and never what it reads."""
    if address is None or address == "":
        return repr(address)
    return "something else" if isinstance(address, str) else type(address).__name__
